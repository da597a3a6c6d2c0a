"""Questions at the edge: as they are, and in the form of OpenAI's chat completions."""

import base64
import gzip
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from edge.app import create_app
from edge.service import EdgeService
from tests.exposition import outcomes
from tests.json_logs import json_lines
from tests.openai import check_openai
from thinwire.errors import UnavailableError
from thinwire.rest.schemas import VqaResponse

Picture = Callable[..., bytes]
ID = "0123456789abcdef" * 2


@pytest.fixture
async def http(other_service: EdgeService) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(other_service.device, [other_service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http


def body(image: bytes, question: Any = "what is it?", **parameters: Any) -> dict[str, Any]:
    return {"inputs": {"image": base64.b64encode(image).decode(), "question": question}, "parameters": parameters}


def chat(image: bytes, **fields: Any) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(image).decode()
    parts = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}]} | fields


async def test_a_question_goes_with_the_frame_and_the_answer_comes_back(
    http: httpx.AsyncClient, cloud: Any, coarse: Any, picture: Picture
) -> None:
    asked = body(picture(), max_new_tokens=3, temperature=0.5, top_p=0.9, seed=7, budget={"channel_uses": 8})
    response = await http.post("/v1/vqa", json=asked, headers={"idempotency-key": ID})
    assert response.status_code == 200
    content = response.json()
    VqaResponse.model_validate(content, strict=True)
    assert content["outputs"] == [{"answer": "what is it? 3", "score": 0.5}]
    assert (content["id"], content["policy"]["id"], content["link"]["tokens"]) == (ID, coarse.policy.id, 4)
    (frame,) = cloud.frames
    assert (frame.task, frame.question, frame.top_k) == ("vqa", "what is it?", 0)
    said = frame.generation
    assert (said.max_new_tokens, said.temperature, said.top_p, said.seed) == (3, 0.5, 0.9, 7)


async def test_a_form_is_another_way_to_ask(http: httpx.AsyncClient, picture: Picture) -> None:
    form = {"question": "what is it?", "parameters": json.dumps({"max_new_tokens": 5})}
    response = await http.post("/v1/vqa", data=form, files={"image": ("a.png", picture(), "image/png")})
    assert response.json()["outputs"] == [{"answer": "what is it? 5", "score": 0.5}]


@pytest.mark.parametrize(
    "change",
    [
        lambda image: body(image, ""),
        lambda image: body(image, "x" * 2001),
        lambda image: body(image, None),
        lambda image: body(image, max_new_tokens=0),
        lambda image: body(image, temperature=-1),
        lambda image: body(image, top_k=3),
        lambda image: body(b"no image"),
        lambda image: {"inputs": base64.b64encode(image).decode()},
    ],
)
async def test_what_is_no_question_never_reaches_the_link(
    http: httpx.AsyncClient, other_service: EdgeService, cloud: Any, picture: Picture, change: Callable[[bytes], Any]
) -> None:
    response = await http.post("/v1/vqa", json=change(picture()))
    assert response.status_code in (400, 422)
    assert response.headers["content-type"] == "application/problem+json"
    assert cloud.frames == []
    counted = outcomes((await http.get("/metrics")).text, "thinwire_requests_total")
    assert counted == {response.json()["error"]: 1}


async def test_a_chat_completion_is_answered(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    response = await http.post(
        "/v1/chat/completions", json=chat(picture(), max_tokens=4), headers={"idempotency-key": ID}
    )
    content = response.json()
    assert (response.status_code, content["object"], content["id"]) == (200, "chat.completion", f"chatcmpl-{ID}")
    assert content["model"] == "other"
    assert content["choices"][0]["message"]["content"] == "what is it? 4"
    assert content["choices"][0]["finish_reason"] == "stop"
    assert content["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    assert [frame.question for frame in cloud.frames] == ["what is it?"]


async def test_a_chat_completion_as_a_stream_comes_in_one_piece(http: httpx.AsyncClient, picture: Picture) -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    response = await http.post("/v1/chat/completions", json=chat(picture(), **options))
    assert response.headers["content-type"].startswith("text/event-stream")
    *chunks, done = [line.removeprefix("data: ") for line in response.text.strip().split("\n\n")]
    start, piece, end, usage = map(json.loads, chunks)
    assert start["choices"][0]["delta"]["role"] == "assistant"
    assert "role" not in piece["choices"][0]["delta"]
    assert piece["choices"][0]["delta"]["content"] == "what is it? 256"
    assert end["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"]["total_tokens"] == 9
    assert done == "[DONE]"


async def test_every_route_takes_compressed_bodies_and_keeps_ids(http: httpx.AsyncClient, picture: Picture) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip", "x-request-id": "a-b"}
    routes = {"/v1/vqa": body(picture()), "/v1/chat/completions": chat(picture(), stream=True)}
    with json_lines() as logged:
        for url, asked in routes.items():
            content = gzip.compress(json.dumps(asked).encode())
            response = await http.post(url, content=content, headers=headers)
            assert (response.status_code, response.headers["x-request-id"]) == (200, "a-b"), response.text
            response = await http.post(url, content=content, headers=headers | {"content-encoding": "zstd"})
            assert (response.status_code, response.headers["accept-encoding"]) == (415, "gzip, deflate")
            response = await http.post(url, content=content[:-1], headers=headers)
            assert (response.status_code, response.headers["x-request-id"]) == (422, "a-b")
    assert [line["x_request_id"] for line in logged() if line["message"] == "frame"] == ["a-b"] * 2
    counted = outcomes((await http.get("/metrics")).text, "thinwire_requests_total")
    assert counted == {"ok": 2, "unsupported_encoding": 2, "invalid_request": 2}


async def test_a_chat_completion_repeats_by_its_key(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    headers = {"idempotency-key": "stainless-python-retry-8e03978e"}
    answers = [await http.post("/v1/chat/completions", json=chat(picture()), headers=headers) for _ in range(2)]
    assert len({answer.json()["id"] for answer in answers}) == 1
    one, other = cloud.frames
    assert one == other
    other_image = await http.post("/v1/chat/completions", json=chat(picture(1)), headers=headers)
    assert other_image.status_code == 409
    longer = await http.post("/v1/chat/completions", json=chat(picture(), max_tokens=9), headers=headers)
    check_openai(longer, 409, "id_taken")


async def test_an_image_elsewhere_is_not_fetched(http: httpx.AsyncClient, cloud: Any) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/a.png"}}
    asked = {"messages": [{"role": "user", "content": [{"type": "text", "text": "?"}, part]}]}
    response = await http.post("/v1/chat/completions", json=asked)
    assert response.status_code == 422
    assert "nothing is fetched" in response.json()["error"]["message"]
    assert cloud.frames == []


async def test_a_limit_above_ours_is_ours(http: httpx.AsyncClient, picture: Picture) -> None:
    response = await http.post("/v1/chat/completions", json=chat(picture(), max_tokens=300))
    assert response.json()["choices"][0]["message"]["content"] == "what is it? 256"


ERRORS: dict[str, tuple[Callable[[bytes], Any], int, str | None, str]] = {
    "image": (lambda image: chat(b"no image"), 422, "messages", "invalid_image"),
    "budget": (lambda image: chat(image, budget={"channel_uses": 1}), 422, "budget", "budget_not_met"),
    "policy": (lambda image: chat(image, policy="p-none"), 404, "policy", "unknown_policy"),
    "field": (lambda image: chat(image, stop=["."]), 422, "stop", "invalid_request"),
    "limit": (lambda image: chat(image, max_tokens=0), 422, "max_tokens", "invalid_request"),
    "messages": (lambda image: {}, 422, "messages", "invalid_request"),
    "json": (lambda image: [], 422, None, "invalid_request"),
}


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_of_chat_have_openais_form(
    http: httpx.AsyncClient, cloud: Any, picture: Picture, name: str, stream: bool
) -> None:
    change, status, param, code = ERRORS[name]
    asked = change(picture())
    if isinstance(asked, dict):
        asked["stream"] = stream
    error = check_openai(await http.post("/v1/chat/completions", json=asked), status, code)
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert cloud.frames == []
    assert outcomes((await http.get("/metrics")).text, "thinwire_requests_total") == {code: 1}


async def test_the_link_fails_in_openais_form(http: httpx.AsyncClient, cloud: Any, picture: Picture) -> None:
    cloud.refusal = lambda _: UnavailableError("no cloud")
    response = await http.post("/v1/chat/completions", json=chat(picture()))
    assert check_openai(response, 503, "unavailable")["type"] == "server_error"
    assert response.headers["retry-after"] == "1"
    assert "x-should-retry" not in response.headers


async def test_only_what_is_served_is_described(http: httpx.AsyncClient, service: EdgeService) -> None:
    described = (await http.get("/openapi.json")).json()["paths"]
    assert {"/v1/vqa", "/v1/chat/completions"} <= described.keys()
    assert "/v1/classify" not in described
    assert "/v1/vqa" not in create_app(service.device, [service]).openapi()["paths"]
