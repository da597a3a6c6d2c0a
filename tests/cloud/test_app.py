import asyncio
import base64
import io
import json
import re

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from cloud.server import CloudServer, Settings
from tests.exposition import outcomes
from tests.json_logs import json_lines
from tests.openai import check_openai
from thinwire.rest.parsing import MAX_BODY_BYTES

# One server for all, since uvicorn takes its time to stop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


def encode(colour=(200, 100, 50), size=(20, 16), form="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, form)
    return buffer.getvalue()


def as_json(data, **parameters):
    return {"json": {"inputs": base64.b64encode(data).decode(), "parameters": parameters}}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served(bundle, classifier_factory):
    fake = classifier_factory()
    server = CloudServer([(bundle, fake)], Settings("127.0.0.1:0", rest_port=0))
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        yield client, fake, server
    fake.gate.set()
    await server.stop()


@pytest.fixture
def client(served):
    client, fake, _ = served
    yield client
    fake.gate.set()


@pytest.fixture
def model(served):
    return served[1]


@pytest.fixture
def waiting(served):
    return lambda: served[2].tasks[0].images.waiting()


def check_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["error"] == code
    assert body["status"] == status
    assert body["detail"]
    return body["detail"]


async def test_json(client):
    response = await client.post("/v1/classify", **as_json(encode(), top_k=2))
    assert response.status_code == 200, response.text
    body = response.json()
    assert re.fullmatch("[0-9a-f]{32}", body["id"])
    assert [output["label"] for output in body["outputs"]] == ["red", "green"]
    assert body["outputs"][0]["score"] == pytest.approx(1)
    assert body["policy"] is body["link"] is body["cost"] is None
    timings = body["timings_ms"]
    assert timings["edge"] is timings["channel"] is None
    assert 0 < timings["cloud"] <= timings["total"]
    assert (await client.post("/v1/classify", **as_json(encode()))).json()["id"] != body["id"]


async def test_a_request_keeps_its_id(client):
    with json_lines() as logged:
        response = await client.post("/v1/classify", **as_json(encode()), headers={"x-request-id": "a-b"})
    (line,) = [line for line in logged() if line["message"] == "image"]
    assert (response.headers["x-request-id"], line["x_request_id"]) == ("a-b", "a-b")
    assert line["request_id"] == response.json()["id"]


async def test_multipart(client):
    files = {"image": ("x.jpg", encode((0, 0, 255), form="JPEG"), "image/jpeg")}
    response = await client.post("/v1/classify", files=files, data={"parameters": json.dumps({"top_k": 1})})
    assert response.status_code == 200, response.text
    assert [output["label"] for output in response.json()["outputs"]] == ["blue"]


async def test_raw(client):
    response = await client.post(
        "/v1/classify",
        content=encode((0, 255, 0)),
        headers={"content-type": "image/png"},
        params={"parameters": '{"top_k": 3}'},
    )
    assert response.status_code == 200, response.text
    assert [output["label"] for output in response.json()["outputs"]] == ["green", "red", "blue"]


async def test_images_reach_the_model_in_its_size_and_run_together(client, model, until, waiting):
    model.gate.clear()
    model.image_batches.clear()
    runs = model.runs
    first = asyncio.create_task(client.post("/v1/classify", **as_json(encode())))
    await until(lambda: model.runs > runs)
    colours = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
    calls = [asyncio.create_task(client.post("/v1/classify", **as_json(encode(colour)))) for colour in colours.values()]
    await until(lambda: waiting() == 3)
    model.gate.set()
    responses = await asyncio.gather(*calls)
    # In whichever order they were decoded, each gets its own answer.
    assert [response.json()["outputs"][0]["label"] for response in responses] == list(colours)
    assert model.image_batches == [(1, 8, 8, 3), (3, 8, 8, 3)]
    await first


async def test_a_full_queue_is_too_many_requests(bundle, classifier_factory, until):
    model = classifier_factory()
    model.gate.clear()
    server = CloudServer([(bundle, model)], Settings("127.0.0.1:0", rest_port=0, max_queue=1))
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        running = asyncio.create_task(client.post("/v1/classify", **as_json(encode())))
        await until(lambda: model.runs)
        waits = asyncio.create_task(client.post("/v1/classify", **as_json(encode())))
        await until(lambda: server.tasks[0].images.waiting() == 1)
        refused = await client.post("/v1/classify", **as_json(encode()))
        check_problem(refused, 429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        model.gate.set()
        assert [(await one).status_code for one in (running, waits)] == [200, 200]
    await server.stop()


@pytest.mark.parametrize(
    "parameters",
    [
        {"policy": "none"},
        {"budget": {}},
        {"channel": None},
        {"channel": {}},
        {"top_k": 1000},
        {"top_k": 1000.0},
        {"explain": False},
    ],
)
async def test_parameters_that_ask_nothing_of_a_link(client, parameters):
    assert (await client.post("/v1/classify", **as_json(encode(), **parameters))).status_code == 200


@pytest.mark.parametrize(
    "parameters", [{"policy": "p3"}, {"budget": {"channel_uses": 64}}, {"channel": {"snr_db": 10}}, {"explain": True}]
)
async def test_parameters_of_the_link_are_refused(client, model, parameters):
    runs = model.runs
    response = await client.post("/v1/classify", **as_json(encode(), **parameters))
    detail = check_problem(response, 422, "invalid_request")
    assert "the cloud has no link" in detail
    assert next(iter(parameters)) in detail
    assert model.runs == runs


@pytest.mark.parametrize("parameters", [{"topk": 1}, {"top_k": 0}, {"top_k": "x"}, {"timeout_ms": 0}])
async def test_unknown_and_impossible_parameters(client, parameters):
    detail = check_problem(await client.post("/v1/classify", **as_json(encode(), **parameters)), 422, "invalid_request")
    assert next(iter(parameters)) in detail


@pytest.mark.parametrize("data", [b"", b"not an image", encode()[:60]], ids=["empty", "text", "truncated"])
async def test_unreadable_images(client, model, data):
    runs = model.runs
    check_problem(await client.post("/v1/classify", **as_json(data)), 422, "invalid_image")
    raw = await client.post("/v1/classify", content=data, headers={"content-type": "image/png"})
    check_problem(raw, 422, "invalid_image")
    assert model.runs == runs


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"parameters": {}}'])
async def test_malformed_json(client, body):
    response = await client.post("/v1/classify", content=body, headers={"content-type": "application/json"})
    check_problem(response, 422, "invalid_request")


async def test_a_media_type_that_is_not_read(client):
    check_problem(
        await client.post("/v1/classify", content=b"x", headers={"content-type": "text/plain"}), 422, "invalid_request"
    )


async def test_a_body_that_is_too_large(client):
    headers = {"content-type": "image/png"}
    declared = await client.post("/v1/classify", content=b"\0" * (MAX_BODY_BYTES + 1), headers=headers)
    check_problem(declared, 413, "payload_too_large")

    async def chunks():
        for _ in range(MAX_BODY_BYTES // 2**20 + 2):
            yield b"\0" * 2**20

    check_problem(await client.post("/v1/classify", content=chunks(), headers=headers), 413, "payload_too_large")


async def test_a_timeout_frees_the_queue(client, model, until):
    model.gate.clear()
    runs = model.runs
    running = asyncio.create_task(client.post("/v1/classify", **as_json(encode())))
    await until(lambda: model.runs > runs)
    response = await client.post("/v1/classify", **as_json(encode(), timeout_ms=50))
    assert "50 ms" in check_problem(response, 504, "deadline_exceeded")
    model.gate.set()
    assert (await running).status_code == 200
    assert (await client.post("/v1/classify", **as_json(encode()))).status_code == 200
    # The one that waited in vain never ran.
    assert model.runs == runs + 2


async def test_a_timeout_while_the_model_runs(client, model):
    model.gate.clear()
    check_problem(await client.post("/v1/classify", **as_json(encode(), timeout_ms=50)), 504, "deadline_exceeded")
    model.gate.set()
    assert (await client.post("/v1/classify", **as_json(encode()))).status_code == 200


async def test_an_unexpected_error_tells_the_client_nothing(client, model, monkeypatch, caplog):
    def fail(pixels):
        raise ValueError("a secret of the model")

    monkeypatch.setattr(model, "classify_images", fail)
    response = await client.post("/v1/classify", **as_json(encode()))
    assert "secret" not in check_problem(response, 500, "internal")
    assert "a secret of the model" in caplog.text
    monkeypatch.undo()
    assert (await client.post("/v1/classify", **as_json(encode()))).status_code == 200


async def test_a_client_that_goes_during_its_upload_is_no_error(client, served, caplog):
    before = outcomes((await client.get("/metrics")).text, "thinwire_requests_total").get("cancelled", 0)
    _, writer = await asyncio.open_connection("127.0.0.1", served[2].rest_port)
    writer.write(b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\nabc")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(60):
        while outcomes((await client.get("/metrics")).text, "thinwire_requests_total").get("cancelled", 0) == before:
            await asyncio.sleep(0.01)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert (await client.get("/health/ready")).status_code == 200


async def test_health(client):
    for path in ("/health/live", "/health/ready"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/v1/policies", 404), ("GET", "/v1/classify", 405), ("GET", "/", 404)]
)
async def test_routes_that_the_cloud_does_not_have(client, method, path, status):
    check_problem(await client.request(method, path), status, "http_error")


@pytest.mark.parametrize("path", ["/v1/vqa", f"/v1/frames/{'0' * 32}/questions"])
async def test_questions_are_not_of_this_bundles_task(client, path):
    assert "'classify'" in check_problem(await client.post(path, json={}), 404, "unknown_task")
    assert not [known for known in (await client.get("/openapi.json")).json()["paths"] if known.startswith(path[:8])]


async def test_chat_is_not_of_this_bundles_task(client):
    error = check_openai(await client.post("/v1/chat/completions", json={}), 404, "unknown_task")
    assert "'classify'" in error["message"]
    assert "/v1/chat/completions" not in (await client.get("/openapi.json")).json()["paths"]


async def test_the_openapi_document_describes_the_body(client):
    document = (await client.get("/openapi.json")).json()
    body = document["paths"]["/v1/classify"]["post"]["requestBody"]
    assert body["required"]
    assert set(body["content"]) == {"application/json", "multipart/form-data", "image/*"}
    schema = body["content"]["application/json"]["schema"]
    assert schema["required"] == ["inputs"]
    assert schema["properties"]["parameters"]["properties"]["budget"]["properties"]["channel_uses"]
    for reference in re.findall(r'"\$ref": ?"([^"]+)"', json.dumps(document)):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    responses = document["paths"]["/v1/classify"]["post"]["responses"]
    assert "application/problem+json" in responses["default"]["content"]
