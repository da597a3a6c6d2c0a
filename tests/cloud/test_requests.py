"""What every route of the cloud does with a request's id, its compression, and a key that means nothing there."""

import gzip
import json

import pytest

from tests.cloud.vqa_server import about, body, chat, check_problem
from tests.json_logs import json_lines

pytestmark = pytest.mark.asyncio(loop_scope="module")
UUID = "8e03978e-40d5-43dd-bc93-6c894a57f932"


async def asked(served, make_vqa_frame):
    """Every route, and what it is asked."""
    frame = make_vqa_frame(2)
    await served.stub.Infer(frame)
    questions = f"/v1/frames/{frame.request_id}/questions"
    return [
        ("/v1/vqa", body()),
        (questions, about("what?")),
        (questions, about("what?", True)),
        ("/v1/chat/completions", chat()),
        ("/v1/chat/completions", chat(stream=True)),
    ]


async def test_requests_keep_their_ids(served, make_vqa_frame):
    # One for all, as an application forwards it; and a key repeats nothing here, where nothing is sent.
    headers = {"x-request-id": UUID, "idempotency-key": "one for all"}
    with json_lines() as logged:
        for url, content in await asked(served, make_vqa_frame):
            response = await served.client.post(url, json=content, headers=headers)
            assert (response.status_code, response.headers["x-request-id"]) == (200, UUID), response.text
    answers = [line for line in logged() if line["message"] == "answer"]
    assert [line["x_request_id"] for line in answers] == [UUID] * 5
    assert UUID not in [line["request_id"] for line in answers]
    for url in ("/v1/vqa", "/v1/frames/x/questions", "/v1/chat/completions", "/v1/classify", "/nowhere"):
        response = await served.client.post(url, content=b"{", headers=headers)
        assert response.status_code >= 400
        assert response.headers["x-request-id"] == UUID


async def test_bodies_may_be_compressed(served, make_vqa_frame):
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    for url, content in await asked(served, make_vqa_frame):
        compressed = gzip.compress(json.dumps(content).encode())
        response = await served.client.post(url, content=compressed, headers=headers)
        assert response.status_code == 200, response.text
        response = await served.client.post(url, content=compressed, headers=headers | {"content-encoding": "br"})
        assert response.headers["accept-encoding"] == "gzip, deflate"
        assert response.status_code == 415


async def test_an_image_may_be_a_data_url(served):
    inputs = body()["inputs"]
    for image in (f"data:image/png;base64,{inputs['image']}", inputs["image"] + "\n"):
        response = await served.client.post("/v1/vqa", json={"inputs": inputs | {"image": image}})
        assert response.status_code == 200, response.text
    response = await served.client.post("/v1/vqa", json={"inputs": inputs | {"image": "data:image/png,%89PNG"}})
    assert "percent-encoding is not read" in check_problem(response, 422, "invalid_image")
