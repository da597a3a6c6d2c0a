"""A process that is told to stop finishes what is under way, takes nothing new, and ends with status 0."""

import asyncio
import http.client
import signal
from concurrent.futures import Future, ThreadPoolExecutor

import grpc
import httpx
import pytest

from deploy.ports import HOST
from deploy.testbed import LocalTestbed
from edge.answer import Answer
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from edge.torch_engine import TorchEngine
from policies.fronts import FrontFile
from tests.e2e.peers import PATIENCE_S, PICTURE, PNG, classify, health, is_problem, send, until
from thinwire.bundle import FRONT
from thinwire.errors import DeadlineError, UnavailableError
from thinwire.rest.schemas import Parameters
from thinwire.v1 import control_pb2, control_pb2_grpc

pytestmark = pytest.mark.timeout(300)
# Three seconds on the air: under every grace, and long enough to be caught there.
HELD = {"policy": "none", "budget": {"channel_uses": 60}}


def _caught_in_the_air(testbed: LocalTestbed, pool: ThreadPoolExecutor) -> list[Future[httpx.Response]]:
    """Three requests whose frames are all on the channel now."""
    with grpc.insecure_channel(f"{HOST}:{testbed.ports.channel_grpc}") as channel:
        control = control_pb2_grpc.ChannelControlStub(channel)

        def frames() -> int:
            return sum(
                link.frames for link in control.ListLinks(control_pb2.ListLinksRequest(), wait_for_ready=True).links
            )

        before = frames()
        requests = [pool.submit(classify, testbed.edge_url, **HELD) for _ in range(3)]
        until(lambda: frames() == before + 3)
    return requests


def _ended(testbed: LocalTestbed, name: str) -> int:
    return testbed._processes[name].wait(PATIENCE_S)


def test_the_edge_drains(slow_testbed):
    with ThreadPoolExecutor() as pool:
        requests = _caught_in_the_air(slow_testbed, pool)
        send(slow_testbed, "edge", signal.SIGTERM)
        until(lambda: health(slow_testbed.edge_url, "live") == 0)
        assert [request.result().status_code for request in requests] == [200] * 3
    assert _ended(slow_testbed, "edge") == 0


def test_the_channel_drains(slow_testbed):
    with ThreadPoolExecutor() as pool:
        requests = _caught_in_the_air(slow_testbed, pool)
        send(slow_testbed, "channel", signal.SIGTERM)
        until(lambda: health(slow_testbed.edge_url, "ready") == 503)
        assert is_problem(classify(slow_testbed.edge_url, **HELD), 503, "unavailable")
        assert [request.result().status_code for request in requests] == [200] * 3
    assert _ended(slow_testbed, "channel") == 0


async def test_the_cloud_drains(slow_testbed, tiny_bundle):
    ports = slow_testbed.ports
    link = LinkClient(f"{HOST}:{ports.cloud_grpc}")
    front_file = FrontFile(tiny_bundle.path(FRONT), tiny_bundle.digest)
    service = EdgeService(tiny_bundle, TorchEngine.load(tiny_bundle), front_file, Device(link, "drain"))
    told = asyncio.Event()

    async def images():
        yield PICTURE
        await told.wait()
        yield PICTURE

    # Under way at REST: an upload that has come by half. Under way on the link: a stream that has not ended.
    upload = http.client.HTTPConnection(HOST, ports.cloud_rest, timeout=PATIENCE_S)
    upload.putrequest("POST", "/v1/classify")
    for name, value in (PNG | {"content-length": str(len(PICTURE))}).items():
        upload.putheader(name, value)
    upload.endheaders(PICTURE[: len(PICTURE) // 2])
    answers = service.classify_stream(images(), Parameters())
    assert isinstance(await anext(answers), Answer)
    send(slow_testbed, "cloud", signal.SIGTERM)
    newcomer = LinkClient(f"{HOST}:{ports.cloud_grpc}")
    while await newcomer.is_healthy(1.0):
        await asyncio.sleep(0.05)
    assert health(slow_testbed.cloud_url, "ready") == 503
    told.set()
    assert isinstance(await anext(answers), Answer)
    upload.send(PICTURE[len(PICTURE) // 2 :])
    assert (await asyncio.to_thread(upload.getresponse)).status == 200
    upload.close()
    await answers.aclose()
    assert await asyncio.to_thread(_ended, slow_testbed, "cloud") == 0
    (error,) = [item async for item in service.classify_stream(_one(), Parameters(timeout_ms=2000))]
    assert isinstance(error, DeadlineError | UnavailableError)
    service.device.close()
    await newcomer.close()
    await link.close()


async def _one():
    yield PICTURE
