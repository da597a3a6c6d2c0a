"""The proxy as a process: health, reflection, and a stop that loses nothing."""

import asyncio
import logging
import os
import signal
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from channel.server import ChannelServer, Settings, serve
from tests.channel.conftest import MakeFrame, Rig, until
from tests.network import needs_ipv6
from thinwire.errors import InvalidRequestError, UnavailableError
from thinwire.rpc import Server, open_channel
from thinwire.v1 import link_pb2, link_pb2_grpc


@pytest.mark.parametrize("service", ["", "thinwire.v1.SemanticLink", "thinwire.v1.ChannelControl"])
async def test_health_is_serving(rig: Rig, service: str) -> None:
    answer = await health_pb2_grpc.HealthStub(rig.channel).Check(health_pb2.HealthCheckRequest(service=service))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_links_health_is_the_clouds(rig: Rig) -> None:
    async def status(service: str) -> int:
        request = health_pb2.HealthCheckRequest(service=service)
        return (await health_pb2_grpc.HealthStub(rig.channel).Check(request)).status

    watch = health_pb2_grpc.HealthStub(rig.channel).Watch(
        health_pb2.HealthCheckRequest(service="thinwire.v1.SemanticLink"), timeout=60
    )
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    await rig.cloud_server.stop(0)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert await status("thinwire.v1.SemanticLink") == health_pb2.HealthCheckResponse.NOT_SERVING
    # The process itself is well, or whoever watches it would restart it for the cloud's sake.
    assert await status("") == health_pb2.HealthCheckResponse.SERVING
    again = Server(["thinwire.v1.SemanticLink"])
    await again.start(rig.cloud_address)
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    await again.stop(0)


async def test_reflection_lists_the_services(rig: Rig) -> None:
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    stub = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
    (answer,) = [answer async for answer in stub.ServerReflectionInfo(iter([request]))]
    names = {service.name for service in answer.list_services_response.service}
    assert {"thinwire.v1.SemanticLink", "thinwire.v1.ChannelControl", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_proxy(
    rig: Rig, make_frame: MakeFrame, caplog: pytest.LogCaptureFixture, number: signal.Signals
) -> None:
    arrived, release = asyncio.Event(), asyncio.Event()

    async def hold(frame: link_pb2.Frame, context: Any) -> None:
        arrived.set()
        await release.wait()

    rig.cloud.behave = hold
    caplog.set_level(logging.INFO, "channel.server")
    serving = asyncio.create_task(serve(Settings(rig.cloud_address, "127.0.0.1:0")))
    told: list[str] = []

    def is_told() -> bool:
        # Whatever else writes to the log meanwhile.
        told.extend(record.address for record in caplog.records if record.message == "channel proxy is listening")
        return bool(told)

    await until(is_told)
    async with open_channel(told[0]) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        call = link_pb2_grpc.SemanticLinkStub(channel).Infer(make_frame())
        async with asyncio.timeout(60):
            await arrived.wait()
        os.kill(os.getpid(), number)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        assert not serving.done()
        release.set()
        assert (await call).outputs[0].label == "cat"
    async with asyncio.timeout(60):
        await serving


async def test_an_address_in_use_is_reported(rig: Rig) -> None:
    async with asyncio.timeout(60):
        with pytest.raises(UnavailableError, match="cannot listen"):
            await serve(Settings("127.0.0.1:1", rig.address))


@needs_ipv6
async def test_the_log_names_an_ipv6_address_in_brackets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "channel.server")
    proxy = ChannelServer(Settings("[::1]:1", "[::1]:0", metrics_port=0))
    port = await proxy.start()
    await proxy.stop(0)
    (line,) = [record for record in caplog.records if record.message == "channel proxy is listening"]
    assert (line.address, line.upstream) == (f"[::1]:{port}", "[::1]:1")


@pytest.mark.parametrize("field", ["upstream", "listen"])
@pytest.mark.parametrize("text", ["::1:50051", "cloud", "cloud:port"])
def test_what_is_no_address_is_refused_at_the_start(field: str, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{field} must be HOST:PORT"):
        Settings(**{"upstream": "127.0.0.1:1", field: text})
