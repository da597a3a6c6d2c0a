"""KServe's protocol at the cloud: the plain model, with the labels and accounts of `/v1`; over gRPC beside the link."""

import asyncio
import base64
import io

import httpx
import pytest
import pytest_asyncio
from PIL import Image

from cloud.server import CloudServer, Settings
from tests.exposition import outcomes
from tests.json_logs import json_lines
from tests.thinwire.kserve.requests import outputs, send, told
from tests.thinwire.kserve.slow import elements, raw
from thinwire import rpc
from thinwire.kserve.models import MAX_IMAGES
from thinwire.v1 import inference_pb2 as pb
from thinwire.v1 import inference_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
URL, ASKING = "/v2/models/fake/infer", "/v2/models/fake-vqa/infer"


def encode(*colour):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


IMAGES = [encode(200, 100, 50), encode(0, 0, 255), encode(10, 240, 30)]


@pytest_asyncio.fixture(name="served", loop_scope="module", scope="module")
async def served_fixture(bundle, vqa_bundle, classifier_factory, answerer_factory):
    models = [(bundle, classifier_factory()), (vqa_bundle, answerer_factory())]
    # Fewer than one request may have images: it must not be refused for its own.
    server = CloudServer(models, Settings("127.0.0.1:0", rest_port=0, max_queue=MAX_IMAGES // 2))
    await server.start()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield client, inference_pb2_grpc.GRPCInferenceServiceStub(channel), models
    await server.stop()


@pytest.fixture(name="http")
def http_fixture(served):
    return served[0]


async def of_v1(http, path, inputs):
    response = await http.post(path, json={"inputs": inputs})
    assert response.status_code == 200, response.text
    return response.json()["outputs"]


async def test_the_answers_are_those_of_v1(http):
    theirs = [await of_v1(http, "/v1/classify", base64.b64encode(image).decode()) for image in IMAGES]
    found = outputs(await send(http, {"image": ("BYTES", IMAGES)}, URL))
    assert list(found) == ["label", "score"]
    assert found["label"] == ([3, 5], [output["label"] for one in theirs for output in one])
    assert found["score"] == ([3, 5], pytest.approx([output["score"] for one in theirs for output in one]))


async def test_so_are_those_to_questions(http):
    texts = ["what?", "where?", "how many?"]
    theirs = []
    for image, question in zip(IMAGES, texts, strict=True):
        inputs = {"image": base64.b64encode(image).decode(), "question": question}
        theirs += await of_v1(http, "/v1/vqa", inputs)
    asked = {"image": ("BYTES", IMAGES), "question": ("BYTES", [text.encode() for text in texts])}
    found = outputs(await send(http, asked, ASKING))
    assert found == {"answer": ([3], [one["answer"] for one in theirs]), "score": ([3], [0.5] * 3)}


async def test_over_grpc_beside_the_link(served):
    _, stub, _ = served
    request = pb.ModelInferRequest(model_name="fake", raw_input_contents=[raw("BYTES", IMAGES)])
    request.inputs.add(name="image", datatype="BYTES", shape=[3])
    request.parameters["top_k"].int64_param = 1
    response = await stub.ModelInfer(request)
    assert elements("BYTES", response.raw_output_contents[0]) == ["red", "blue", "green"]
    assert (await stub.ServerReady(pb.ServerReadyRequest())).ready


async def test_a_request_may_have_more_images_than_the_queue_holds(http):
    assert outputs(await send(http, {"image": ("BYTES", IMAGES[:1] * MAX_IMAGES)}, URL))["label"][0] == [MAX_IMAGES, 5]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"policy": "p-1"}, "policy 'p-1': the cloud has no link"),
        ({"channel_uses": 38}, "budget: the cloud has no link"),
        ({"snr_db": 5}, "channel: the cloud has no link"),
        ({"seed": 5}, "channel: the cloud has no link"),
    ],
)
async def test_what_concerns_the_link_is_refused(http, parameters, words):
    assert words in told(await send(http, {"image": ("BYTES", IMAGES)}, URL, parameters=parameters))
    response = await send(http, {"image": ("BYTES", IMAGES)}, URL, outputs=[{"name": "channel_uses"}])
    assert told(response) == "output 'channel_uses': model 'fake' gives label, score"


async def test_images_count_and_are_logged_as_those_of_v1(http):
    async def seen():
        return outcomes((await http.get("/metrics")).text, "thinwire_requests_total")

    before = await seen()
    with json_lines() as logged:
        assert outputs(await send(http, {"image": ("BYTES", IMAGES[:2])}, URL))
        assert told(await send(http, {"image": ("BYTES", [b"no"])}, URL))
        assert told(await send(http, {"image": ("BYTES", [b"no"])}, URL, parameters={"x": 1}))
        await asyncio.sleep(0)
    after = await seen()
    assert {name: count - before.get(name, 0) for name, count in after.items() if count != before.get(name, 0)} == {
        "ok": 2,
        "invalid_image": 1,
        "invalid_request": 1,
    }
    lines = [line for line in logged() if line["message"] == "image"]
    assert [(line["bundle"], line["bytes"]) for line in lines] == [("fake", len(image)) for image in IMAGES[:2]]
    assert len({line["request_id"] for line in lines}) == 2
