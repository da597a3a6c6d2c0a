"""A device that holds several bundles: each request finds the one that it names, or else the first for its task."""

import base64
import json
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
from tests.exposition import outcomes, samples
from tests.openai import check_openai
from thinwire.bundle import FRONT, Bundle
from thinwire.errors import InvalidRequestError

PNG = {"content-type": "image/png"}


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
    assert answer["detail"] == "no bundle here is for the task 'classify'; there is other (task 'vqa')"
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
def test_a_server_has_bundles_of_different_names(bundle: Bundle, engine: Any, count: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"at least one bundle|different names, got 'test'"):
        EdgeServer([(bundle, engine)] * count, Settings("127.0.0.1:1"))


@pytest.fixture
def served(service: EdgeService, other_service: EdgeService, tmp_path: Path, coarse: Any) -> list[EdgeService]:
    """The bundles "test" and "second" for images, "other" and "asked" for questions, on one device."""

    def beside(first: EdgeService, name: str) -> EdgeService:
        folder = tmp_path / name
        folder.mkdir()
        bundle = replace(first.bundle, name=name, folder=folder)
        found = replace(coarse, bundle_digest=bundle.digest)
        Fronts((Front(name, bundle.digest, (found,)),)).save(bundle.path(FRONT))
        return EdgeService(bundle, first._engine, FrontFile(bundle.path(FRONT), bundle.digest), first.device)

    return [service, other_service, beside(service, "second"), beside(other_service, "asked")]


@pytest.fixture
async def several(served: list[EdgeService]) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(served[0].device, served))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http


def _asked(image: bytes, task: str, **parameters: Any) -> dict[str, Any]:
    encoded = base64.b64encode(image).decode()
    inputs = encoded if task == "classify" else {"image": encoded, "question": "what is it?"}
    return {"inputs": inputs, "parameters": parameters}


@pytest.mark.parametrize(
    ("task", "model", "index"),
    [
        ("classify", None, 0),
        ("classify", "", 0),
        ("classify", "test", 0),
        ("classify", "second", 2),
        ("vqa", None, 1),
        ("vqa", "other", 1),
        ("vqa", "asked", 3),
    ],
)
async def test_the_model_is_named_or_the_first(
    several: httpx.AsyncClient,
    served: list[EdgeService],
    cloud: Any,
    coarse: Any,
    picture: Callable[..., bytes],
    task: str,
    model: str | None,
    index: int,
) -> None:
    named = {} if model is None else {"model": model}
    response = await several.post(f"/v1/{task}", json=_asked(picture(), task, budget={"channel_uses": 31}, **named))
    assert response.status_code == 200
    assert response.json()["policy"]["id"] == coarse.policy.id
    assert [frame.bundle_digest for frame in cloud.frames] == [served[index].bundle.digest]


async def test_every_form_of_a_request_names_its_model(
    several: httpx.AsyncClient, served: list[EdgeService], cloud: Any, picture: Callable[..., bytes]
) -> None:
    parameters = json.dumps({"model": "second"})
    raw = await several.post("/v1/classify", content=picture(), headers=PNG, params={"parameters": parameters})
    form = await several.post(
        "/v1/classify", data={"parameters": parameters}, files={"image": ("a.png", picture(1), "image/png")}
    )
    assert (raw.status_code, form.status_code) == (200, 200)
    assert {frame.bundle_digest for frame in cloud.frames} == {served[2].bundle.digest}


@pytest.mark.parametrize(
    ("task", "model", "known"),
    [("classify", "third", "test, second"), ("classify", "other", "test, second"), ("vqa", "test", "other, asked")],
)
async def test_a_model_that_is_not_there_is_not_found(
    several: httpx.AsyncClient, cloud: Any, picture: Callable[..., bytes], task: str, model: str, known: str
) -> None:
    response = await several.post(f"/v1/{task}", json=_asked(picture(), task, model=model))
    problem = response.json()
    assert (response.status_code, problem["error"]) == (404, "model_not_found")
    assert problem["detail"] == f"no model {model!r} for the task {task!r} here; there is {known}"
    assert outcomes((await several.get("/metrics")).text, "thinwire_requests_total") == {"model_not_found": 1}
    assert cloud.frames == []


async def test_a_chat_is_answered_by_the_model_that_it_names_if_that_is_one_of_ours(
    several: httpx.AsyncClient, picture: Callable[..., bytes]
) -> None:
    url = "data:image/png;base64," + base64.b64encode(picture()).decode()
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    asked = {"messages": [{"role": "user", "content": parts}]}
    answers = {}
    for model in ("asked", "other", "gpt-4o", ""):
        response = await several.post("/v1/chat/completions", json={"model": model, **asked})
        answers[model] = response.json()["model"]
    assert answers == {"asked": "asked", "other": "other", "gpt-4o": "other", "": "other"}
    response = await several.post("/v1/chat/completions", json={"model": "second", **asked})
    error = check_openai(response, 404, "model_not_found")
    assert error["message"] == "no model 'second' for the task 'vqa' here; there is other, asked"


async def test_another_model_under_one_key_is_refused(
    several: httpx.AsyncClient, cloud: Any, picture: Callable[..., bytes]
) -> None:
    key = {"idempotency-key": "one"}

    async def ask(**parameters: Any) -> httpx.Response:
        return await several.post("/v1/classify", json=_asked(picture(), "classify", **parameters), headers=key)

    # Named or left out, the first is the first.
    assert [(await ask(**named)).status_code for named in ({}, {"model": "test"})] == [200, 200]
    refused = await ask(model="second")
    assert (refused.status_code, refused.json()["error"]) == (409, "id_taken")
    assert len(cloud.frames) == 2


async def test_counters_and_lines_tell_bundles_apart(
    several: httpx.AsyncClient, picture: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "edge.sender"):
        for model in ("second", "test", "second"):
            asked = _asked(picture(), "classify", model=model, budget={"channel_uses": 31})
            assert (await several.post("/v1/classify", json=asked)).status_code == 200
    lines = [record for record in caplog.records if record.name == "edge.sender"]
    assert [line.__dict__["bundle"] for line in lines] == ["second", "test", "second"]
    seen = samples((await several.get("/metrics")).text)
    for name, count in (("test", 1), ("second", 2), ("other", 0)):
        labels = f"{{bundle={name},service=edge}}"
        assert seen[f"thinwire_bundle_frames_total{labels}"] == count
        assert seen[f"thinwire_bundle_tokens_total{labels}"] == 4 * count
        # Three of a frame's uses are the fake cloud's pilots and side information.
        assert seen[f"thinwire_bundle_channel_uses_total{labels}"] == 11 * count
        assert (seen[f"thinwire_bundle_model_seconds_total{labels}"] > 0) == (count > 0)
    assert seen["thinwire_frame_tokens_count"] == 3
