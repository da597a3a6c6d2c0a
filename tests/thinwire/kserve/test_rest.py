"""The protocol over HTTP, as an encoder of our own writes and reads it."""

import base64
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest

from tests.thinwire.kserve.fakes import BLUE, RED, FakeBackend
from tests.thinwire.kserve.requests import ASKING, IMAGES, LENGTH, URL, in_json, outputs, send, told
from tests.thinwire.kserve.slow import encode


async def test_several_images_in_binary(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    response = await send(http, IMAGES, id="x", parameters={"binary_data_output": True, "top_k": 2})
    assert response.headers["content-type"] == "application/octet-stream"
    found = outputs(response)
    assert list(found) == ["label", "score", "channel_uses", "tokens", "policy"]
    assert found["label"] == ([3, 2], ["red", "green", "blue", "red", "green", "blue"])
    assert found["score"] == ([3, 2], pytest.approx([1.0, 0.2] * 3))
    assert found["channel_uses"] == ([3], [11, 12, 13])
    assert found["tokens"] == ([3], [5, 5, 5])
    assert found["policy"] == ([3], ["p-1"] * 3)
    content = json.loads(response.content[: int(response.headers[LENGTH])])
    assert (content["id"], content["model_name"], content["model_version"]) == (
        "x",
        "colours",
        backend.bundles[0].digest,
    )


async def test_json_both_ways(http: httpx.AsyncClient) -> None:
    response = await http.post(URL, json=in_json(RED, BLUE, parameters={"top_k": 1}))
    assert response.headers["content-type"] == "application/json"
    assert LENGTH not in response.headers
    assert response.json().keys() == {"model_name", "model_version", "outputs"}
    assert outputs(response)["label"] == ([2, 1], ["red", "blue"])


async def test_each_output_has_its_own_form(http: httpx.AsyncClient) -> None:
    asked = [
        {"name": "score", "parameters": {"binary_data": True}},
        {"name": "label", "parameters": {"binary_data": False}},
        {"name": "policy"},
    ]
    response = await http.post(URL, json=in_json(RED, outputs=asked, parameters={"binary_data_output": True}))
    described = json.loads(response.content[: int(response.headers[LENGTH])])["outputs"]
    assert [one["name"] for one in described] == ["score", "label", "policy"]
    assert ["data" in one for one in described] == [False, True, False]
    assert outputs(response)["label"] == ([1, 3], ["red", "green", "blue"])


@pytest.mark.parametrize("kind", [None, "application/octet-stream", "application/json", "text/plain"])
async def test_any_content_type_will_do(http: httpx.AsyncClient, kind: str | None) -> None:
    headers = {} if kind is None else {"content-type": kind}
    response = await http.post(URL, content=json.dumps(in_json(RED)).encode(), headers=headers)
    assert outputs(response)["label"][1][0] == "red"


@pytest.mark.parametrize(("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_lengths_are_those_before_compression(http: httpx.AsyncClient, coding: str, compress: Any) -> None:
    content, headers = encode(IMAGES)
    response = await http.post(URL, content=compress(content), headers=headers | {"content-encoding": coding})
    assert outputs(response)["label"][0] == [3, 3]
    stale = await http.post(URL, content=content, headers=headers | {"content-encoding": coding})
    assert coding in told(stale)


async def test_pixels_are_images(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    rows = [[[255, 0, 51], [0, 51, 102]], [[7, 8, 9], [250, 251, 252]], [[1, 2, 3], [4, 5, 6]]]
    parts = [[[value / 255 for value in pixel] for pixel in row] for row in rows]
    for inputs in ({"pixels": ("UINT8", [rows])}, {"pixels": ("FP32", [parts])}):
        outputs(await send(http, inputs))
    for name, data in (("UINT8", [rows]), ("FP32", [value for row in parts for pixel in row for value in pixel])):
        body = {"inputs": [{"name": "pixels", "datatype": name, "shape": [1, 3, 2, 3], "data": data}]}
        outputs(await http.post(URL, json=body))
    assert [pixels.tolist() for pixels in backend.seen] == [rows] * 4


async def test_questions(http: httpx.AsyncClient) -> None:
    inputs = {"image": ("BYTES", [RED, BLUE]), "question": ("BYTES", [b"what?", "où ?".encode()])}
    found = outputs(await send(http, inputs, ASKING))
    assert list(found) == ["answer", "score", "channel_uses", "tokens", "policy"]
    assert found["answer"] == ([2], ["red: what?", "blue: où ?"])
    assert found["score"] == ([2], [1.0, 1.0])


async def test_a_data_url_is_an_image_in_either_form(http: httpx.AsyncClient) -> None:
    url = "data:image/png;base64," + base64.b64encode(RED).decode()
    assert outputs(await send(http, {"image": ("BYTES", [url.encode()])}))["label"][1][0] == "red"
    body = {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "data": [url]}]}
    assert outputs(await http.post(URL, json=body))["label"][1][0] == "red"


async def test_parameters_are_flat(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    given = {"policy": "none", "channel_uses": 38, "top_k": 1, "snr_db": 5, "channel_model": "rician", "seed": 7}
    outputs(await http.post(URL, json=in_json(RED, parameters=given | {"timeout": 2_500_000})))
    (asked,) = backend.asked
    assert (asked.model, asked.policy, asked.budget.channel_uses, asked.timeout_ms) == ("colours", "none", 38, 2500)
    assert asked.channel is not None
    assert (asked.channel.model, asked.channel.snr_db, asked.channel.seed) == ("rician", 5.0, 7)


async def test_classification(http: httpx.AsyncClient) -> None:
    wanted = [{"name": "score", "parameters": {"classification": 2}}, {"name": "label"}]
    found = outputs(await http.post(URL, json=in_json(RED, BLUE, outputs=wanted, parameters={"top_k": 1})))
    assert found["score"] == ([2, 2], ["1.000000:0:red", "0.200000:1:green", "1.000000:2:blue", "0.200000:0:red"])
    assert found["label"] == ([2, 1], ["red", "blue"])


async def test_images_take_turns(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    backend.pause_s = 0.01
    outputs(await send(http, {"image": ("BYTES", [RED] * 9)}))
    assert backend.most_under_way == backend.window


async def test_metadata(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    server = (await http.get("/v2")).json()
    assert (server["name"], server["extensions"]) == ("thinwire-fake", ["binary_tensor_data", "classification"])
    digest = backend.bundles[0].digest
    model = (await http.get("/v2/models/colours")).json()
    assert (await http.get(f"/v2/models/colours/versions/{digest}")).json() == model
    assert (model["name"], model["versions"], model["platform"]) == ("colours", [digest], "thinwire")
    assert model["inputs"] == [
        {"name": "image", "datatype": "BYTES", "shape": [-1]},
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
    ]
    assert model["outputs"] == [
        {"name": "label", "datatype": "BYTES", "shape": [-1, -1]},
        {"name": "score", "datatype": "FP32", "shape": [-1, -1]},
        {"name": "channel_uses", "datatype": "INT64", "shape": [-1]},
        {"name": "tokens", "datatype": "INT64", "shape": [-1]},
        {"name": "policy", "datatype": "BYTES", "shape": [-1]},
    ]
    asking = (await http.get("/v2/models/a/b")).json()
    assert [one["name"] for one in asking["inputs"]] == ["image", "pixels", "question"]
    backend.has_link = False
    assert [one["name"] for one in (await http.get("/v2/models/a/b")).json()["outputs"]] == ["answer", "score"]


async def test_health(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    digest = backend.bundles[1].digest
    paths = ["/v2/health/ready", "/v2/models/a/b/ready", f"/v2/models/a/b/versions/{digest}/ready"]
    for backend.is_ready in (True, False):
        for path in paths:
            response = await http.get(path)
            assert (response.status_code, response.json()["ready"]) == (
                200 if backend.is_ready else 503,
                backend.is_ready,
            )
        assert (await http.get("/v2/health/live")).json() == {"live": True}


async def test_a_version_may_be_named(http: httpx.AsyncClient, backend: FakeBackend) -> None:
    url = f"/v2/models/colours/versions/{backend.bundles[0].digest}/infer"
    assert outputs(await http.post(url, json=in_json(RED)))["label"][1][0] == "red"
