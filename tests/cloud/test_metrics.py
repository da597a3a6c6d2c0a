import asyncio
import base64
import contextlib
import gc
import io
import weakref

import grpc
import httpx
import pytest
from PIL import Image

from cloud.app import create_app
from cloud.classification import Classification, remembered
from cloud.metrics import CloudMetrics
from cloud.server import CloudServer, Settings
from cloud.task import Batching
from tests.cloud.conftest import POISON, FakeClassifier
from tests.exposition import outcomes, samples
from thinwire.rpc import open_channel
from thinwire.v1 import link_pb2_grpc

REQUESTS, FRAMES = "thinwire_requests_total", "thinwire_frames_total"


@contextlib.asynccontextmanager
async def running(bundle, classifier):
    server = CloudServer([(bundle, classifier)], Settings("127.0.0.1:0", rest_port=0))
    await server.start()
    try:
        async with (
            open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        ):
            yield link_pb2_grpc.SemanticLinkStub(channel), client
    finally:
        classifier.gate.set()
        await server.stop()


def body(**parameters):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(buffer, "PNG")
    return {"inputs": base64.b64encode(buffer.getvalue()).decode(), "parameters": parameters}


async def scrape(client):
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return response.text


async def fails(call):
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_frames_and_images_are_counted_by_outcome(bundle, classifier, make_frame):
    async with running(bundle, classifier) as (stub, client):
        text = await scrape(client)
        assert outcomes(text, FRAMES) == outcomes(text, REQUESTS) == {}
        first = make_frame(1)
        results = [await stub.Infer(frame) for frame in (first, make_frame(2), first)]
        await fails(stub.Infer(make_frame(POISON)))
        await fails(stub.Infer(make_frame(link_id="no name")))
        await fails(stub.Infer(make_frame(bundle_digest="another")))

        async def frames():
            yield make_frame(3)
            yield make_frame(tokens=18)

        assert len([result async for result in stub.Stream(frames())]) == 2
        bodies = [body(), body(), body(policy="made-up"), {"inputs": "*"}, {"inputs": "aaaa"}]
        answers = [await client.post("/v1/classify", json=content) for content in bodies]
        text = await scrape(client)
    assert [answer.status_code for answer in answers] == [200, 200, 422, 422, 422]
    assert outcomes(text, FRAMES) == {"ok": 4, "internal": 1, "invalid_frame": 2, "bundle_mismatch": 1}
    assert outcomes(text, REQUESTS) == {"ok": 2, "invalid_request": 1, "invalid_image": 2}
    seen = samples(text)
    # The repeated frame never reached the model; the one that broke it did.
    for kind, items in (("frame", 4), ("image", 2)):
        assert seen[f"thinwire_batch_size_count{{kind={kind}}}"] == items
        assert seen[f"thinwire_batch_size_sum{{kind={kind}}}"] == items
        assert seen[f"thinwire_queue_length{{kind={kind}}}"] == 0
    assert seen["thinwire_stage_seconds_count{service=cloud,stage=cloud}"] == 4
    # One that the model broke on has no time in it; a repeated one is a frame, and did not wait.
    for name in ("queue", "model"):
        assert seen[f"thinwire_{name}_seconds_count{{kind=frame}}"] == 3
        assert seen[f"thinwire_{name}_seconds_count{{kind=image}}"] == 2
    # Those that were sound: four that were answered, and the one that broke the model.
    for name in ("thinwire_frame_tokens", "thinwire_frame_channel_uses"):
        assert seen[f"{name}_count"] == 5
    assert seen["thinwire_frame_tokens_sum"] == 5 * 3
    assert seen["thinwire_stage_seconds_count{service=cloud,stage=receive}"] == 5
    assert seen["thinwire_stage_seconds_count{service=cloud,stage=plain}"] == 2
    told_s = sum(result.cloud_ms for result in results) / 1e3
    assert seen["thinwire_stage_seconds_sum{service=cloud,stage=cloud}"] > told_s
    plain_s = sum(answer.json()["timings_ms"]["cloud"] for answer in answers[:2]) / 1e3
    assert seen["thinwire_stage_seconds_sum{service=cloud,stage=plain}"] == pytest.approx(plain_s)


async def test_the_queue_and_the_batches_that_it_becomes(bundle, classifier, make_frame, until):
    async with running(bundle, classifier) as (stub, client):
        classifier.gate.clear()
        calls = [asyncio.ensure_future(stub.Infer(make_frame()))]
        await until(lambda: classifier.runs == 1)
        calls += [asyncio.ensure_future(stub.Infer(make_frame(n))) for n in range(3)]
        posts = [asyncio.create_task(client.post("/v1/classify", json=body()))]
        frames, images = "thinwire_queue_length{kind=frame}", "thinwire_queue_length{kind=image}"
        async with asyncio.timeout(60):
            # Images wait for the same model, in a queue of their own.
            while (seen := samples(await scrape(client)))[frames] != 3 or seen[images] != 1:
                pass
        calls[-1].cancel()
        async with asyncio.timeout(60):
            while samples(await scrape(client))[frames] != 2:
                pass
        classifier.gate.set()
        await asyncio.gather(*calls[:-1], *posts)
        text = await scrape(client)
    seen = samples(text)
    assert seen[frames] == seen[images] == 0
    assert (seen["thinwire_batch_size_count{kind=frame}"], seen["thinwire_batch_size_sum{kind=frame}"]) == (2, 3)
    assert (seen["thinwire_batch_size_count{kind=image}"], seen["thinwire_batch_size_sum{kind=image}"]) == (1, 1)
    assert outcomes(text, FRAMES) == {"ok": 3, "cancelled": 1}


async def test_a_plain_image_whose_client_goes_is_cancelled_and_never_runs(bundle, classifier, until):
    async with running(bundle, classifier) as (_, client):
        classifier.gate.clear()
        posts = [asyncio.create_task(client.post("/v1/classify", json=body()))]
        await until(lambda: classifier.runs == 1)
        posts.append(asyncio.create_task(client.post("/v1/classify", json=body())))
        images = "thinwire_queue_length{kind=image}"
        async with asyncio.timeout(60):
            while samples(await scrape(client))[images] != 1:
                pass
            posts[1].cancel()
            while samples(await scrape(client))[images]:
                pass
        classifier.gate.set()
        assert (await posts[0]).status_code == 200
        assert classifier.runs == 1
        assert outcomes(await scrape(client), REQUESTS) == {"ok": 1, "cancelled": 1}


async def test_two_servers_in_one_process_are_separate(bundle, classifier, make_frame):
    async with running(bundle, classifier) as (stub, client), running(bundle, classifier) as (_, other):
        await stub.Infer(make_frame())
        await other.post("/v1/classify", json=body())
        first, second = await scrape(client), await scrape(other)
    assert (outcomes(first, FRAMES), outcomes(first, REQUESTS)) == ({"ok": 1}, {})
    assert (outcomes(second, FRAMES), outcomes(second, REQUESTS)) == ({}, {"ok": 1})


async def test_the_registry_goes_with_its_application(bundle):
    async def use():
        metrics = CloudMetrics()
        task = Classification(bundle, FakeClassifier(), Batching(8, 8, metrics), remembered())
        app = create_app([task], lambda: True, metrics)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://cloud") as client:
            assert (await client.post("/v1/classify", json=body())).status_code == 200
            await scrape(client)
        await task.close()
        return weakref.ref(metrics.registry)

    registry = await use()
    async with asyncio.timeout(60):
        # Until the last callbacks of the request's tasks have run.
        while registry() is not None:
            await asyncio.sleep(0.01)
            gc.collect()
