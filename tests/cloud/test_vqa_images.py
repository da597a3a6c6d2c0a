"""Plain images with questions over REST, and OpenAI's chat form."""

import base64
import json

import pytest

from cloud.answerer import Answer
from tests.cloud.vqa_server import BLUE, body, chat, check_problem, encode, events_of
from tests.openai import check_openai

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_plain_images(served):
    response = await served.client.post("/v1/vqa", json=body("which?", max_new_tokens=3, temperature=1.5))
    assert response.status_code == 200, response.text
    assert response.json()["outputs"] == [{"answer": "b WHICH? t1.5", "score": 0.5}]
    assert response.json()["policy"] is None
    assert served.model.viewed == [(8, 8, 3)]
    files = {"image": ("x.png", encode((0, 255, 0)), "image/png")}
    data = {"question": "où?", "parameters": json.dumps({"max_new_tokens": 2})}
    response = await served.client.post("/v1/vqa", files=files, data=data)
    assert response.json()["outputs"][0]["answer"] == "g OÙ?"


BAD_REQUESTS = {
    "empty question": ({"json": body("")}, "invalid_request"),
    "long question": ({"json": body("a" * 2001)}, "invalid_request"),
    "no image": ({"json": {"inputs": {"question": "q"}}}, "invalid_request"),
    "unreadable": ({"json": body("q", b"abc")}, "invalid_image"),
    "policy": ({"json": body(policy="p3")}, "invalid_request"),
    "budget": ({"json": body(budget={"channel_uses": 64})}, "invalid_request"),
    "labels": ({"json": body(top_k=3)}, "invalid_request"),
    "raw": ({"content": BLUE, "headers": {"content-type": "image/png"}}, "invalid_request"),
    "query": ({"json": body(), "params": {"parameters": "{}"}}, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_bad_requests_about_images(served, name):
    options, code = BAD_REQUESTS[name]
    check_problem(await served.client.post("/v1/vqa", **options), 422, code)
    assert served.model.asked == []


async def test_a_chat_completion(served, vqa_bundle):
    response = await served.client.post("/v1/chat/completions", json=chat("which?", max_tokens=2))
    assert response.status_code == 200, response.text
    content = response.json()
    assert content["choices"][0]["message"]["content"] == "b WHICH?"
    assert content["choices"][0]["finish_reason"] == "length"
    assert (content["object"], content["model"]) == ("chat.completion", vqa_bundle.name)
    assert content["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_a_chat_completion_in_chunks(served):
    content = chat("which?", max_tokens=2, stream=True, stream_options={"include_usage": True})
    response = await served.client.post("/v1/chat/completions", json=content)
    *events, done = await events_of(response)
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "b WHICH?"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, None, "length"]
    assert ["role" in chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [True, False, False, False]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * 4
    assert chunks[-1]["usage"]["total_tokens"] == 9
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "https://example.org/x.png", "file:///etc/passwd"])
async def test_nothing_is_fetched(served, url):
    response = await served.client.post("/v1/chat/completions", json=chat(url=url))
    assert "nothing is fetched" in check_openai(response, 422, "invalid_request")["message"]
    assert served.model.viewed == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "status", "param", "code"),
    [
        (chat(url="data:image/png;base64,AAAA"), 422, "messages", "invalid_image"),
        (chat(policy="p3"), 422, "policy", "invalid_request"),
        (chat(budget={"channel_uses": 64}), 422, "budget", "invalid_request"),
        (chat(channel={"csi": "none"}), 422, "channel", "invalid_request"),
        (chat(max_completion_tokens=0), 422, "max_completion_tokens", "invalid_request"),
        (chat("nan"), 500, None, "internal"),
        (chat("crash"), 500, None, "internal"),
        (chat(timeout_ms=0.001), 504, None, "deadline_exceeded"),
    ],
)
async def test_errors_of_chat_have_openais_form(served, asked, status, param, code, stream):
    response = await served.client.post("/v1/chat/completions", json=asked | {"stream": stream})
    error = check_openai(response, status, code)
    assert (error["param"], error["type"]) == (param, "invalid_request_error" if status < 500 else "server_error")
    assert "secret" not in error["message"]
    # OpenAI's clients would repeat what is a 5xx.
    assert response.headers["x-should-retry"] == "false"


async def test_errors_before_the_route_have_openais_form(served):
    response = await served.client.get("/v1/chat/completions")
    assert check_openai(response, 405, "http_error")["type"] == "invalid_request_error"
    assert response.headers["allow"] == "POST"
    text = {"content-type": "text/plain"}
    check_openai(await served.client.post("/v1/chat/completions", content="{}", headers=text), 422, "invalid_request")
    query = await served.client.post("/v1/chat/completions?stream=true", json=chat())
    assert "'stream'" in check_openai(query, 422, "invalid_request")["message"]
    for path in ("/v1/completions", "/v1/responses", "/v1/chat/completions/3", "/v1/images/generations", "/v1/files/3"):
        error = check_openai(await served.client.post(path, json=chat()), 404, "http_error")
        assert (error["message"], error["type"]) == (f"{path} is not served here", "invalid_request_error")
        assert (await served.client.get(path)).json() == {"error": error}
    for path in ("/v1/nowhere", "/completions", "/v1", "/v1/", "/v1/vqa/3"):
        check_problem(await served.client.post(path, json=chat()), 404, "http_error")


@pytest.mark.parametrize(("timeout_ms", "status", "word"), [(300, 504, "300 ms"), (30_000, 500, "see the log")])
async def test_what_breaks_in_the_middle_of_a_chat_is_a_message(served, monkeypatch, timeout_ms, status, word):
    def fail(question):
        question.on_text("half")
        if status == 504:
            served.model.gate.clear()
            served.model.gate.wait(10)
        raise ValueError("a secret of the model")

    monkeypatch.setattr(served.model, "_answer", fail)
    asked = chat(timeout_ms=timeout_ms, stream=True)
    async with served.client.stream("POST", "/v1/chat/completions", json=asked) as response:
        start, piece, last = await events_of(response)
    assert json.loads(start.removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert json.loads(piece.removeprefix("data: "))["choices"][0]["delta"] == {"content": "half"}
    # No name, no [DONE]: clients look for it in the data, and take what is done for whole.
    content = json.loads(last.removeprefix("data: "))
    assert content.keys() == {"error"}
    assert content["error"]["type"] == "server_error"
    assert word in content["error"]["message"]


async def test_an_answer_without_text_has_a_role(served, monkeypatch):
    monkeypatch.setattr(served.model, "_answer", lambda question: Answer("", 0.5, 7, 1, "stop"))
    response = await served.client.post("/v1/chat/completions", json=chat(stream=True))
    start, end, done = await events_of(response)
    assert json.loads(start.removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"
    assert json.loads(end.removeprefix("data: "))["choices"][0]["finish_reason"] == "stop"
    assert done == "data: [DONE]"


async def test_a_limit_above_ours_is_ours(served):
    content = (await served.client.post("/v1/chat/completions", json=chat("which?", max_tokens=300))).json()
    assert (content["usage"]["completion_tokens"], content["choices"][0]["finish_reason"]) == (256, "length")


async def test_the_other_task_is_a_problem(served):
    image = {"inputs": base64.b64encode(BLUE).decode()}
    detail = check_problem(await served.client.post("/v1/classify", json=image), 404, "unknown_task")
    assert "'vqa'" in detail


async def test_the_openapi_document_holds_what_is_served(served):
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    expected = {"/v1/vqa", "/v1/frames/{frame_id}/questions", "/v1/chat/completions"}
    assert expected <= paths.keys()
    assert "/v1/classify" not in paths
    for path in expected:
        operation = paths[path]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert "$ref" not in json.dumps(schema)
        form = "application/json" if "chat" in path else "application/problem+json"
        assert operation["responses"]["default"]["content"].keys() == {form}
    assert "text/event-stream" in paths["/v1/frames/{frame_id}/questions"]["post"]["responses"]["200"]["content"]
