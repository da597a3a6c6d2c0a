"""A device that holds several bundles: each request finds the one for its task."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from edge.app import create_app
from edge.server import EdgeServer, Settings
from edge.service import EdgeService
from policies.front import Front
from policies.fronts import FrontFile, Fronts
from tests.exposition import outcomes
from thinwire.bundle import FRONT, Bundle
from thinwire.errors import InvalidRequestError

PNG = {"content-type": "image/png"}


@pytest.fixture
def other(bundle: Bundle, tmp_path: Path) -> Bundle:
    folder = tmp_path / "other"
    folder.mkdir()
    return replace(bundle, name="other", task="vqa", folder=folder)


@pytest.fixture
def other_service(other: Bundle, service: EdgeService, engine: Any, coarse: Any) -> EdgeService:
    found = replace(coarse, bundle_digest=other.digest)
    Fronts((Front(other.name, other.digest, (found,)),)).save(other.path(FRONT))
    return EdgeService(other, engine, FrontFile(other.path(FRONT), other.digest), service.device)


@pytest.fixture
async def http(service: EdgeService, other_service: EdgeService) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(service.device, [other_service, service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http


async def test_a_request_finds_the_bundle_of_its_task(
    http: httpx.AsyncClient, bundle: Bundle, cloud: Any, picture: Callable[..., bytes]
) -> None:
    assert (await http.post("/v1/classify", content=picture(), headers=PNG)).status_code == 200
    assert [frame.bundle_digest for frame in cloud.frames] == [bundle.digest]


async def test_a_task_of_no_bundle_is_refused_and_counted(
    service: EdgeService, other_service: EdgeService, cloud: Any, picture: Callable[..., bytes]
) -> None:
    transport = httpx.ASGITransport(create_app(service.device, [other_service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        answer = (await http.post("/v1/classify", content=picture(), headers=PNG)).json()
        metrics = (await http.get("/metrics")).text
    assert answer["error"] == "unknown_task"
    assert answer["detail"] == "no bundle on this device is for the task 'classify'; it has vqa"
    assert outcomes(metrics, "thinwire_requests_total") == {"unknown_task": 1}
    assert cloud.frames == []


async def test_models_and_policies_are_those_of_all_bundles(
    http: httpx.AsyncClient, bundle: Bundle, other: Bundle, fine: Any, coarse: Any
) -> None:
    models = (await http.get("/v1/models")).json()["models"]
    assert [(model["name"], model["task"]) for model in models] == [("other", "vqa"), ("test", "classify")]
    listed = {
        name: (await http.get("/v1/policies", params=query)).json()
        for name, query in (("first", {}), ("other", {"bundle": "other"}), ("test", {"bundle": "test"}))
    }
    assert listed["first"] == listed["other"]
    assert listed["other"]["bundle"] == {"name": "other", "digest": other.digest}
    assert listed["test"]["policies"] == [fine.to_json(), coarse.to_json()]
    shown = (await http.get(f"/v1/policies/{coarse.policy.id}", params={"bundle": "test"})).json()
    assert [one["bundle_digest"] for one in shown["measurements"]] == [bundle.digest]
    refused = await http.get("/v1/policies", params={"bundle": "none"})
    assert (refused.status_code, "other, test" in refused.json()["detail"]) == (422, True)


@pytest.mark.parametrize("count", [0, 2])
def test_a_server_has_one_bundle_for_each_task(bundle: Bundle, engine: Any, count: int) -> None:
    with pytest.raises(InvalidRequestError, match="one bundle for each task"):
        EdgeServer([(bundle, engine)] * count, Settings("127.0.0.1:1"))
