import asyncio
import base64
import json
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from edge import app as app_module
from edge.service import EdgeService
from tests.json_logs import json_lines
from thinwire.errors import BundleMismatchError
from thinwire.rest.schemas import ClassifyResponse

Picture = Callable[..., bytes]
FRONT_BODY = {"model": "awgn", "snr_db": 10.0}


def body(image: bytes, **parameters: Any) -> dict[str, Any]:
    return {"inputs": base64.b64encode(image).decode(), "parameters": parameters}


def is_problem(response: httpx.Response, status: int, code: str) -> bool:
    content = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert content.keys() == {"type", "title", "status", "detail", "error"}
    return (response.status_code, content["status"], content["error"]) == (status, status, code)


async def test_the_response_is_complete(http: httpx.AsyncClient, cloud: Any, fine: Any, picture: Picture) -> None:
    response = await http.post("/v1/classify", json=body(picture(), top_k=2, budget={"channel_uses": 32}))
    assert response.status_code == 200
    content = response.json()
    ClassifyResponse.model_validate(content, strict=True)
    timings = content.pop("timings_ms")
    outputs = content.pop("outputs")
    assert content == {
        "id": cloud.frames[0].request_id,
        "policy": {"id": fine.policy.id, "digest": fine.policy.digest, "capped": False, "front": FRONT_BODY},
        "link": {
            "tokens": 8,
            "channel_uses": 35,
            "payload_uses": 32,
            "pilot_uses": 2,
            "side_information_uses": 1,
            "cbr": pytest.approx(35 / 192),
            "snr_db": 10.0,
            "airtime_ms": 0.5,
            "transmissions": 1,
        },
        "cost": {"edge_gmacs": 0.25},
    }
    assert [output.keys() for output in outputs] == [{"label", "score"}] * 2
    assert timings.keys() == {"edge", "channel", "cloud", "total"}
    assert (timings["channel"], timings["cloud"]) == (1.0, 2.0)
    assert timings["total"] > timings["edge"] > 0


async def test_three_forms_of_a_request_are_one(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    parameters = {"top_k": 3, "budget": {"channel_uses": 8}}
    text = json.dumps(parameters)
    responses = [
        await http.post("/v1/classify", json=body(picture(), **parameters)),
        await http.post("/v1/classify", files={"image": picture()}, data={"parameters": text}),
        await http.post(
            "/v1/classify", content=picture(), headers={"content-type": "image/png"}, params={"parameters": text}
        ),
    ]
    assert [response.status_code for response in responses] == [200] * 3
    first, *others = [response.json()["outputs"] for response in responses]
    assert len(first) == 3
    assert others == [first, first]
    assert len({frame.symbols for frame in cloud.frames}) == 1


async def test_a_request_may_bring_its_frames_id(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    name = "0123456789abcdef" * 2
    for key in (name, name.upper()):
        response = await http.post("/v1/classify", json=body(picture()), headers={"idempotency-key": key})
        assert response.json()["id"] == name
    assert [frame.request_id for frame in cloud.frames] == [name, name]


async def test_any_key_names_a_frame(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    keys = ["8e03978e-40d5-43dd-bc93-6c894a57f932", "order 7/é", '"quoted"', "k", "k" * 255, "0" * 31, "0" * 33]
    for key in keys * 2:
        headers = {"idempotency-key": key.encode("latin-1")}
        response = await http.post("/v1/classify", json=body(picture()), headers=headers)
        assert response.json()["id"] == cloud.frames[-1].request_id
    names = [frame.request_id for frame in cloud.frames]
    assert names[: len(keys)] == names[len(keys) :]
    assert len(set(names)) == len(keys)
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    other = await http.post("/v1/classify", json=body(picture(1)), headers={"idempotency-key": "k"})
    assert is_problem(other, 409, "id_taken")
    assert "take another idempotency-key" in other.json()["detail"]


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ([("idempotency-key", "")], "expected 1 to 255 characters, got 0"),
        ([("idempotency-key", "k" * 256)], "expected 1 to 255 characters, got 256"),
        ([("idempotency-key", "a"), ("idempotency-key", "a")], "expected one"),
    ],
)
async def test_what_is_no_key_is_refused(
    http: httpx.AsyncClient, cloud: Any, picture: Picture, headers: list[tuple[str, str]], words: str
) -> None:
    response = await http.post("/v1/classify", json=body(picture()), headers=headers)
    assert is_problem(response, 422, "invalid_request")
    assert words in response.json()["detail"]
    assert cloud.frames == []


async def test_a_request_id_is_anybodys(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    # One for all calls of one request of an application, as meshes and proxies pass it on.
    headers = {"x-request-id": "8e03978e-40d5-43dd-bc93-6c894a57f932"}
    with json_lines() as logged:
        responses = [await http.post("/v1/classify", json=body(picture(n)), headers=headers) for n in range(2)]
    assert [response.status_code for response in responses] == [200, 200]
    assert {response.headers["x-request-id"] for response in responses} == {headers["x-request-id"]}
    frames = [line for line in logged() if line["message"] == "frame"]
    assert {line["x_request_id"] for line in frames} == {headers["x-request-id"]}
    assert [line["request_id"] for line in frames] == [response.json()["id"] for response in responses]
    assert len({frame.request_id for frame in cloud.frames}) == 2
    refused = await http.post("/v1/classify", json={}, headers=headers)
    assert (refused.status_code, refused.headers["x-request-id"]) == (422, headers["x-request-id"])


@pytest.mark.parametrize(
    ("parameters", "status", "code"),
    [
        ({"policy": "p-unknown"}, 404, "unknown_policy"),
        ({"budget": {"channel_uses": 1}}, 422, "budget_not_met"),
        ({"budget": {"edge_gmacs": 0.01}}, 422, "budget_not_met"),
        ({"channel": {"model": "pigeon"}}, 422, "invalid_request"),
        ({"chanel": {"model": "awgn"}}, 422, "invalid_request"),
        ({"budget": {"channel_uses": 8, "bandwidth_hz": 1e3, "airtime_ms": 1}}, 422, "invalid_request"),
    ],
)
async def test_errors_are_problems(
    http: httpx.AsyncClient, picture: Picture, parameters: dict[str, Any], status: int, code: str
) -> None:
    response = await http.post("/v1/classify", json=body(picture(), **parameters))
    assert is_problem(response, status, code)


async def test_the_links_own_words_reach_the_client(http: httpx.AsyncClient, picture: Picture) -> None:
    response = await http.post("/v1/classify", json=body(picture(), channel={"model": "pigeon"}))
    assert response.json()["detail"] == "unknown channel model 'pigeon'"


async def test_an_unreadable_image_is_a_problem(http: httpx.AsyncClient, cloud: Any) -> None:
    response = await http.post("/v1/classify", json=body(b"no image"))
    assert is_problem(response, 422, "invalid_image")
    assert cloud.frames == []


async def test_an_explicit_policy_is_capped(http: httpx.AsyncClient, cloud: Any, fine: Any, picture: Picture) -> None:
    parameters = {"policy": fine.policy.id, "budget": {"channel_uses": 21}}
    response = await http.post("/v1/classify", json=body(picture(), **parameters))
    assert response.json()["policy"] == {
        "id": fine.policy.id,
        "digest": fine.policy.digest,
        "capped": True,
        "front": FRONT_BODY,
    }
    assert len(cloud.frames[0].symbols) <= 21 * 8


async def test_without_a_proxy_its_parts_are_null(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    cloud.snr_db = None
    content = (await http.post("/v1/classify", json=body(picture()))).json()
    assert content["link"]["snr_db"] is None
    assert content["timings_ms"]["channel"] is None
    assert content["link"]["channel_uses"] == 32


async def test_a_link_that_is_down_is_503_until_it_is_back(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    await cloud.stop()
    response = await http.post("/v1/classify", json=body(picture()))
    assert is_problem(response, 503, "unavailable")
    assert response.headers["retry-after"] == "1"
    await cloud.start()
    async with asyncio.timeout(60):
        while (response := await http.post("/v1/classify", json=body(picture()))).status_code == 503:
            await asyncio.sleep(0.1)
    assert response.status_code == 200


async def test_a_deadline_is_504_and_cancels_in_the_cloud(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    cloud.delay_s = lambda _: 600.0
    response = await http.post("/v1/classify", json=body(picture(), timeout_ms=200))
    assert is_problem(response, 504, "deadline_exceeded")
    await asyncio.wait_for(cloud.cancelled.wait(), 60)


async def test_ready_follows_the_link_and_live_does_not(
    http: httpx.AsyncClient, cloud: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_module, "HEALTH_CACHE_S", 0.0)
    ready = await http.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ok"})
    await cloud.stop()
    unready = await http.get("/health/ready")
    assert (unready.status_code, unready.json()) == (503, {"status": "unavailable"})
    assert (await http.get("/health/live")).json() == {"status": "ok"}
    await cloud.start()
    async with asyncio.timeout(60):
        while (await http.get("/health/ready")).status_code == 503:
            await asyncio.sleep(0.1)


async def test_readiness_asks_the_link_once_for_many(
    http: httpx.AsyncClient, service: EdgeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    async def is_healthy(_: float) -> bool:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.05)
        return True

    monkeypatch.setattr(service.device.client, "is_healthy", is_healthy)
    responses = await asyncio.gather(*(http.get("/health/ready") for _ in range(5)))
    assert [response.status_code for response in responses] == [200] * 5
    assert asked == 1


async def test_an_error_of_the_deployment_is_not_the_clients(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    cloud.refusal = lambda _: BundleMismatchError("another bundle")
    response = await http.post("/v1/classify", json=body(picture()))
    assert is_problem(response, 409, "bundle_mismatch")


async def test_openapi_documents_every_form_of_the_body(http: httpx.AsyncClient) -> None:
    schema = (await http.get("/openapi.json")).json()
    operation = schema["paths"]["/v1/classify"]["post"]
    assert operation["requestBody"]["content"].keys() == {"application/json", "multipart/form-data", "image/*"}
    assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {"parameters", "idempotency-key"}
    assert '"top_k"' in json.dumps(operation["requestBody"]["content"]["application/json"])
    assert '"ClassifyResponse"' in json.dumps(schema["components"])
    for pointer in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(schema)):
        target = schema
        for step in pointer.split("/"):
            target = target[step]
