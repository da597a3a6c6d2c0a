"""KServe's protocol at the edge: the service that answers `/v1`, with its labels and its accounts."""

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edge.service import EdgeService
from tests.exposition import outcomes
from tests.thinwire.kserve.requests import outputs, send, told

Picture = Callable[..., bytes]
URL = "/v2/models/test/infer"


async def test_the_answers_are_those_of_v1(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    pictures = [picture(number) for number in range(3)]
    channel = {"model": "awgn", "snr_db": 5.0, "seed": 7}
    parameters = {"top_k": 2, "budget": {"channel_uses": 32}, "channel": channel}
    theirs = []
    for image in pictures:
        body = {"inputs": base64.b64encode(image).decode(), "parameters": parameters}
        theirs.append((await http.post("/v1/classify", json=body)).json())
    flat = {"top_k": 2, "channel_uses": 32, "channel_model": "awgn", "snr_db": 5.0, "seed": 7}
    found = outputs(await send(http, {"image": ("BYTES", pictures)}, URL, parameters=flat))
    labels = [output["label"] for one in theirs for output in one["outputs"]]
    assert found["label"] == ([3, 2], labels)
    assert found["score"] == ([3, 2], pytest.approx([output["score"] for one in theirs for output in one["outputs"]]))
    assert found["channel_uses"] == ([3], [one["link"]["channel_uses"] for one in theirs])
    assert found["tokens"] == ([3], [one["link"]["tokens"] for one in theirs])
    assert found["policy"] == ([3], [one["policy"]["id"] for one in theirs])
    # Each is a frame of its own, and asks for what the same request asks for under /v1.
    assert len({frame.request_id for frame in cloud.frames}) == 6
    assert {frame.symbols for frame in cloud.frames[:3]} == {frame.symbols for frame in cloud.frames[3:]}
    for frame in cloud.frames:
        assert (frame.channel, frame.max_channel_uses) == (cloud.frames[0].channel, 32)


async def test_images_count_as_those_of_v1(http: httpx.AsyncClient, service: EdgeService, picture: Picture) -> None:
    assert outputs(await send(http, {"image": ("BYTES", [picture(1), picture(2)])}, URL))
    assert told(await send(http, {"image": ("BYTES", [b"no"])}, URL))
    assert told(await send(http, {"image": ("BYTES", [picture()])}, URL, parameters={"x": 1}))
    assert told(await send(http, {"image": ("BYTES", [picture()])}, "/v2/models/nope/infer"), 404)
    seen = outcomes((await http.get("/metrics")).text, "thinwire_requests_total")
    assert seen == {"ok": 2, "invalid_image": 1, "invalid_request": 1, "model_not_found": 1}


async def test_a_budget_that_nothing_meets_is_told(http: httpx.AsyncClient, picture: Picture) -> None:
    response = await send(http, {"image": ("BYTES", [picture()])}, URL, parameters={"channel_uses": 1})
    assert "got 1 channel uses, under the cost of one token" in told(response)


async def test_it_is_ready_when_the_link_is(http: httpx.AsyncClient) -> None:
    paths = ("/v2/health/ready", "/v2/models/test/ready")
    assert [(await http.get(path)).status_code for path in paths] == [200, 200]


async def test_the_document_describes_it(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert {path for path in paths if path.startswith("/v2")} == {
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/infer",
        "/v2/models/{model}/versions/{version}",
        "/v2/models/{model}/versions/{version}/ready",
        "/v2/models/{model}/versions/{version}/infer",
    }
