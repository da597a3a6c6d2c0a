"""A cloud that holds several bundles of one task: frames find theirs by the digest, requests by the name."""

import asyncio
import base64
import io
from dataclasses import replace

import grpc
import httpx
import pytest
from PIL import Image

from cloud.server import CloudServer, Settings
from tests.cloud.vqa_server import about, body, chat, check_problem
from tests.exposition import outcomes, samples
from tests.openai import check_openai
from thinwire import rpc
from thinwire.v1 import link_pb2_grpc

RED = io.BytesIO()
Image.new("RGB", (8, 8), (255, 0, 0)).save(RED, "PNG")


def image(**parameters):
    return {"inputs": base64.b64encode(RED.getvalue()).decode(), "parameters": parameters}


class Several:
    """The server, its models by the names of their bundles, and ways to ask it."""

    def __init__(self, server, bundles, models, client, stub):
        self.server, self.bundles, self.models, self.client, self.stub = server, bundles, models, client, stub


@pytest.fixture
async def several(bundle, vqa_bundle, classifier_factory, answerer_factory):
    colours = replace(bundle, name="colours", labels=tuple(label.upper() for label in bundle.labels))
    bundles = {one.name: one for one in (bundle, vqa_bundle, colours, replace(vqa_bundle, name="asked"))}
    models = {name: answerer_factory() if one.task == "vqa" else classifier_factory() for name, one in bundles.items()}
    settings = Settings("127.0.0.1:0", rest_port=0, held_frames=2, max_batch=2)
    server = CloudServer([(one, models[name]) for name, one in bundles.items()], settings)
    await server.start()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield Several(server, bundles, models, client, link_pb2_grpc.SemanticLinkStub(channel))
    for model in models.values():
        model.gate.set()
    await server.stop()


async def test_a_frame_is_answered_by_its_bundle(several, make_frame):
    for name in ("colours", "fake"):
        frame = make_frame(2, bundle_digest=several.bundles[name].digest, top_k=1)
        (output,) = (await several.stub.Infer(frame)).outputs
        assert output.label in several.bundles[name].labels
        assert len(several.models[name].frame_batches) == 1


async def test_an_image_is_answered_by_the_model_that_is_named_or_the_first(several):
    labels = {}
    for named in ({}, {"model": "fake"}, {"model": "colours"}):
        response = await several.client.post("/v1/classify", json=image(top_k=1, **named))
        labels[named.get("model")] = response.json()["outputs"][0]["label"]
    assert labels == {None: "red", "fake": "red", "colours": "RED"}
    for named, name in (({}, "fake-vqa"), ({"model": "asked"}, "asked")):
        assert (await several.client.post("/v1/vqa", json=body(**named))).status_code == 200
        assert len(several.models[name].asked) == 1


@pytest.mark.parametrize(
    ("path", "model", "known"),
    [
        ("/v1/classify", "none", "fake, colours"),
        ("/v1/classify", "asked", "fake, colours"),
        ("/v1/vqa", "colours", "fake-vqa, asked"),
    ],
)
async def test_a_model_that_is_not_there_is_not_found(several, path, model, known):
    asked = image(model=model) if path == "/v1/classify" else body(model=model)
    detail = check_problem(await several.client.post(path, json=asked), 404, "model_not_found")
    assert detail.endswith(f"there is {known}")
    assert outcomes((await several.client.get("/metrics")).text, "thinwire_requests_total") == {"model_not_found": 1}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_is_answered_by_the_model_that_it_names_if_that_is_one_of_ours(several, stream):
    for model, name in (("asked", "asked"), ("fake-vqa", "fake-vqa"), ("gpt-4o", "fake-vqa")):
        response = await several.client.post("/v1/chat/completions", json=chat(model=model, stream=stream))
        assert f'"model":"{name}"' in response.text.replace(": ", ":")
    refused = await several.client.post("/v1/chat/completions", json=chat(model="colours", stream=stream))
    check_openai(refused, 404, "model_not_found")


async def test_a_frame_that_is_held_is_asked_of_its_own_model(several, make_vqa_frame):
    frames = {
        name: make_vqa_frame(number, bundle_digest=several.bundles[name].digest)
        for number, name in enumerate(("asked", "fake-vqa"))
    }
    for frame in frames.values():
        await several.stub.Infer(frame)
    for number, (name, frame) in enumerate(frames.items()):
        path = f"/v1/frames/{frame.request_id}/questions"
        response = await several.client.post(path, json=about("what?", max_new_tokens=2))
        assert response.json()["outputs"][0]["answer"] == f"{number} WHAT?"
        assert several.models[name].asked == [["what?"]]
        # The frame says whose it is.
        check_problem(await several.client.post(path, json=about("?", model=name)), 422, "invalid_request")
    # The memory is one for all.
    await several.stub.Infer(make_vqa_frame(7, bundle_digest=several.bundles["asked"].digest))
    gone = await several.client.post(f"/v1/frames/{frames['asked'].request_id}/questions", json=about("?"))
    check_problem(gone, 404, "unknown_frame")
    assert samples((await several.client.get("/metrics")).text)["thinwire_held_frames"] == 2


@pytest.mark.parametrize("names", [("fake", "colours"), ("fake-vqa", "asked")])
async def test_a_frame_of_another_bundle_under_one_name_is_refused(several, make_frame, make_vqa_frame, names):
    make = make_frame if names[0] == "fake" else make_vqa_frame
    first, second = (make(3, request_id="ab" * 16, bundle_digest=several.bundles[name].digest) for name in names)
    await several.stub.Infer(first)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await several.stub.Infer(second)
    assert caught.value.code() == grpc.StatusCode.ALREADY_EXISTS


async def test_models_of_one_task_take_turns_on_one_thread(several, make_frame, until):
    digests = {name: several.bundles[name].digest for name in ("fake", "colours")}
    busy, other = several.models["fake"], several.models["colours"]
    busy.gate.clear()
    calls = [asyncio.ensure_future(several.stub.Infer(make_frame(1, bundle_digest=digests["fake"])))]
    await until(lambda: busy.runs == 1)
    waiting = several.server.tasks[0].frames.waiting
    calls += [asyncio.ensure_future(several.stub.Infer(make_frame(n, bundle_digest=digests["fake"]))) for n in range(6)]
    await until(lambda: waiting() == 6)
    order = []
    for model, name in ((busy, "fake"), (other, "colours")):
        run = model.classify_frames
        model.classify_frames = lambda frames, run=run, name=name: order.append(name) or run(frames)
    calls.append(asyncio.ensure_future(several.stub.Infer(make_frame(9, bundle_digest=digests["colours"]))))
    await until(lambda: several.server.tasks[2].frames.waiting() == 1)
    busy.gate.set()
    await asyncio.gather(*calls)
    # Six wait in batches of two; the one of the other bundle stands behind no more than one of them.
    assert "colours" in order[:2]
    assert busy.threads == other.threads
    seen = samples((await several.client.get("/metrics")).text)
    assert seen["thinwire_bundle_frames_total{bundle=fake,service=cloud}"] == 7
    assert seen["thinwire_bundle_frames_total{bundle=colours,service=cloud}"] == 1
    assert seen["thinwire_bundle_frames_total{bundle=asked,service=cloud}"] == 0
    assert seen["thinwire_batch_size_sum{kind=frame}"] == 8
