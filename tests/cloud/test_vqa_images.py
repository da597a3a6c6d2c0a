"""Plain images with questions over REST, and OpenAI's chat form."""

import base64
import json

import pytest

from tests.cloud.vqa_server import BLUE, body, chat, check_problem, encode, events_of

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
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, "length"]
    assert chunks[-1]["usage"]["total_tokens"] == 9
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "https://example.org/x.png", "file:///etc/passwd"])
async def test_nothing_is_fetched(served, url):
    detail = check_problem(await served.client.post("/v1/chat/completions", json=chat(url=url)), 422, "invalid_request")
    assert "nothing is fetched" in detail
    assert served.model.viewed == []


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
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "text/event-stream" in paths["/v1/frames/{frame_id}/questions"]["post"]["responses"]["200"]["content"]
