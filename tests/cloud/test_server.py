import asyncio
import base64
import io
import os
import signal
import socket

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from cloud.server import CloudServer, Settings, serve
from tests.ports import reserved_port
from thinwire.errors import InvalidRequestError, UnavailableError
from thinwire.rpc import open_channel
from thinwire.v1 import link_pb2_grpc

FREE = Settings("127.0.0.1:0", rest_port=0)


@pytest.fixture
def image():
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(buffer, "PNG")
    return {"inputs": base64.b64encode(buffer.getvalue()).decode()}


@pytest.fixture
async def server(bundle, classifier):
    server = CloudServer([(bundle, classifier)], FREE)
    await server.start()
    yield server
    classifier.gate.set()
    await server.stop()


@pytest.fixture
async def channel(server):
    async with open_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture
async def client(server):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client:
        yield client


@pytest.fixture
def occupied():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_both_interfaces_share_one_thread_of_the_model(channel, client, classifier, make_frame, image):
    stub = link_pb2_grpc.SemanticLinkStub(channel)
    calls = [stub.Infer(make_frame(n)) for n in range(4)]
    posts = [asyncio.create_task(client.post("/v1/classify", json=image)) for _ in range(4)]
    assert [(await call).logits[0] for call in calls] == [0, 1, 2, 3]
    assert [(await post).json()["outputs"][0]["label"] for post in posts] == ["red"] * 4
    # The model itself complains if it is entered twice.
    assert len(classifier.threads) == 1


async def test_health_and_reflection(channel, server):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "thinwire.v1.SemanticLink"):
        answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    answers = [answer async for answer in reflection.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"thinwire.v1.SemanticLink", "grpc.health.v1.Health"} <= names


async def test_stop_drains_what_runs(server, channel, client, classifier, make_frame, image, until):
    stub, health = link_pb2_grpc.SemanticLinkStub(channel), health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="thinwire.v1.SemanticLink"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    classifier.gate.clear()
    frames = [asyncio.ensure_future(stub.Infer(make_frame(5)))]
    await until(lambda: classifier.runs == 1)
    frames.append(asyncio.ensure_future(stub.Infer(make_frame(6))))
    post = asyncio.create_task(client.post("/v1/classify", json=image))
    await until(lambda: server.tasks[0].frames.waiting() and server.tasks[0].images.waiting())
    stopping = asyncio.create_task(server.stop())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watch.cancel()
    response = await client.get("/health/ready")
    assert (response.status_code, response.json()) == (503, {"status": "unavailable"})
    assert (await client.get("/health/live")).status_code == 200
    assert not stopping.done()
    classifier.gate.set()
    assert [(await frame).logits[0] for frame in frames] == [5, 6]
    assert (await post).json()["outputs"][0]["label"] == "red"
    await stopping
    with pytest.raises(httpx.ConnectError):
        await client.get("/health/live")
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Infer(make_frame(), timeout=1)


async def test_stop_gives_up_after_the_grace(bundle, classifier, make_frame, until):
    server = CloudServer([(bundle, classifier)], Settings("127.0.0.1:0", rest_port=0, grace_s=0.1))
    await server.start()
    async with open_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        classifier.gate.clear()
        call = asyncio.ensure_future(link_pb2_grpc.SemanticLinkStub(channel).Infer(make_frame()))
        await until(lambda: classifier.runs)
        stopping = asyncio.create_task(server.stop())
        with pytest.raises(grpc.aio.AioRpcError):
            await call
        # What no one waits for any more still has to leave the model.
        classifier.gate.set()
        await stopping


async def test_an_occupied_port_of_rest(bundle, classifier, occupied):
    with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{occupied}"):
        await CloudServer([(bundle, classifier)], Settings("127.0.0.1:0", rest_port=occupied)).start()


async def test_an_occupied_port_of_the_link_leaves_nothing_behind(bundle, classifier, occupied):
    with reserved_port() as rest_port:
        server = CloudServer([(bundle, classifier)], Settings(f"127.0.0.1:{occupied}", rest_port=rest_port))
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{occupied}"):
            await server.start()
        socket.create_server(("127.0.0.1", rest_port)).close()


@pytest.mark.parametrize("port", [70000, -1])
async def test_an_impossible_port(bundle, classifier, port):
    with pytest.raises(UnavailableError, match="cannot listen"):
        await CloudServer([(bundle, classifier)], Settings("127.0.0.1:0", rest_port=port)).start()


@pytest.mark.parametrize("text", ["::1:50051", "cloud", "cloud:port"])
def test_what_is_no_address_is_refused_at_the_start(text):
    with pytest.raises(InvalidRequestError, match=r"^grpc_address must be HOST:PORT"):
        Settings(text)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_serve_drains_on_a_signal(bundle, classifier, make_frame, until, caplog, number):
    caplog.set_level("INFO", logger="cloud")
    serving = asyncio.create_task(serve([(bundle, classifier)], FREE))
    told = []

    def is_told():
        # Whatever else writes to the log meanwhile.
        told.extend(record.grpc_port for record in caplog.records if record.message == "serving")
        return told

    await until(is_told)
    async with open_channel(f"127.0.0.1:{told[0]}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        classifier.gate.clear()
        call = asyncio.ensure_future(link_pb2_grpc.SemanticLinkStub(channel).Infer(make_frame(5)))
        await until(lambda: classifier.runs)
        os.kill(os.getpid(), number)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert not serving.done()
        classifier.gate.set()
        assert (await call).logits[0] == 5
        async with asyncio.timeout(60):
            await serving
