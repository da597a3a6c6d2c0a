import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from edge.server import EdgeServer, Settings, serve
from policies.fronts import FrontFile
from tests.exposition import outcomes
from tests.ports import reserved_port
from thinwire import rpc
from thinwire.bundle import FRONT, Bundle
from thinwire.errors import BundleError, InvalidFrameError, InvalidRequestError, UnavailableError

Picture = Callable[..., bytes]
PNG = {"content-type": "image/png"}


@pytest.fixture
def settings(cloud: Any, front_file: FrontFile) -> Settings:
    return Settings(link_target=f"127.0.0.1:{cloud.port}", link_id="camera", rest_port=0, grpc_address="127.0.0.1:0")


@pytest.fixture
async def server(bundle: Bundle, engine: Any, settings: Settings) -> AsyncIterator[EdgeServer]:
    server = EdgeServer([(bundle, engine)], settings)
    await server.start()
    yield server
    await server.stop()


def occupied() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


async def test_an_image_goes_over_http_and_the_link(server: EdgeServer, cloud: Any, picture: Picture) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as http:
        assert (await http.get("/health/ready")).status_code == 200
        response = await http.post("/v1/classify", content=picture(), headers=PNG)
    assert response.status_code == 200
    assert response.json()["id"] == cloud.frames[0].request_id
    assert cloud.frames[0].link_id == "camera"


async def test_grpc_health_ends_with_the_server(bundle: Bundle, engine: Any, settings: Settings) -> None:
    server = EdgeServer([(bundle, engine)], settings)
    await server.start()
    probe = rpc.open_channel(f"127.0.0.1:{server.grpc_port}")
    assert await rpc.is_serving(probe, "", 60.0)
    await server.stop()
    assert not await rpc.is_serving(probe, "", 0.5)
    await probe.close()
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient(timeout=60) as http:
            await http.get(f"http://127.0.0.1:{server.rest_port}/health/live")


async def test_stopping_lets_go_of_engine_link_and_signals(
    bundle: Bundle, engine: Any, settings: Settings, relay: Any, picture: Picture
) -> None:
    handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    server = EdgeServer([(bundle, engine)], replace(settings, link_target=f"127.0.0.1:{relay.port}"))
    await server.start()
    async with httpx.AsyncClient(timeout=60) as http:
        await http.post(f"http://127.0.0.1:{server.rest_port}/v1/classify", content=picture(), headers=PNG)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == handlers
    assert "edge-engine_0" in (thread.name for thread in threading.enumerate())
    assert relay.connections > 0
    await server.stop()
    async with asyncio.timeout(60):
        while relay.connections or "edge-engine_0" in (thread.name for thread in threading.enumerate()):
            await asyncio.sleep(0.05)


async def test_a_client_that_goes_away_cancels_its_work(server: EdgeServer, cloud: Any, picture: Picture) -> None:
    cloud.delay_s = lambda _: 600.0
    async with httpx.AsyncClient(timeout=60) as http:
        request = asyncio.create_task(
            http.post(f"http://127.0.0.1:{server.rest_port}/v1/classify", content=picture(), headers=PNG)
        )
        await asyncio.wait_for(cloud.arrived.wait(), 60)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
    await asyncio.wait_for(cloud.cancelled.wait(), 60)


async def test_a_client_that_goes_away_while_sending_is_no_error(
    server: EdgeServer, cloud: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", server.rest_port)
    writer.write(
        b"POST /v1/classify HTTP/1.1\r\nhost: edge\r\ncontent-type: image/png\r\ncontent-length: 99\r\n\r\nabc"
    )
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(60), httpx.AsyncClient(timeout=60) as http:
        metrics = f"http://127.0.0.1:{server.rest_port}/metrics"
        while outcomes((await http.get(metrics)).text, "thinwire_requests_total") != {"cancelled": 1}:
            await asyncio.sleep(0.01)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
    assert cloud.frames == []


async def test_an_occupied_rest_port_is_a_clear_error(bundle: Bundle, engine: Any, settings: Settings) -> None:
    with occupied() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}: .*in use"):
            await EdgeServer([(bundle, engine)], replace(settings, rest_port=port)).start()


async def test_an_occupied_grpc_port_leaves_nothing_behind(bundle: Bundle, engine: Any, settings: Settings) -> None:
    with reserved_port() as rest_port, occupied() as holder:
        address = f"127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(UnavailableError, match=f"cannot listen on {address}"):
            await EdgeServer([(bundle, engine)], replace(settings, rest_port=rest_port, grpc_address=address)).start()
        socket.create_server(("127.0.0.1", rest_port)).close()


async def test_a_bundle_with_a_broken_front_does_not_start(bundle: Bundle, engine: Any, settings: Settings) -> None:
    bundle.path(FRONT).write_text("{")
    with pytest.raises(BundleError, match="no readable policy fronts"):
        await EdgeServer([(bundle, engine)], settings).start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(
    bundle: Bundle,
    engine: Any,
    settings: Settings,
    cloud: Any,
    picture: Picture,
    number: signal.Signals,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "edge.server")
    serving = asyncio.create_task(serve([(bundle, engine)], settings))
    cloud.held = lambda _: True
    async with asyncio.timeout(60):
        # Whatever else writes to the log meanwhile.
        while not (told := [record for record in caplog.records if record.message == "edge serves"]):
            await asyncio.sleep(0.01)
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{told[0].rest_port}", timeout=60) as http,
        rpc.open_channel(f"127.0.0.1:{told[0].grpc_port}") as channel,
    ):
        request = asyncio.create_task(http.post("/v1/classify", content=picture(), headers=PNG))
        await asyncio.wait_for(cloud.arrived.wait(), 60)
        os.kill(os.getpid(), number)
        while await rpc.is_serving(channel, "", 60.0):
            await asyncio.sleep(0.01)
        cloud.release.set()
        assert (await request).status_code == 200
    await asyncio.wait_for(serving, 60)


@pytest.mark.parametrize("link_id", ["", "a" * 65, "two words", "caf\u00e9"])
def test_a_name_that_no_frame_can_have_is_refused_at_the_start(link_id):
    with pytest.raises(InvalidFrameError, match="link_id must match"):
        Settings(link_target="127.0.0.1:1", link_id=link_id)


@pytest.mark.parametrize("field", ["link_target", "grpc_address"])
@pytest.mark.parametrize("text", ["::1:50051", "cloud", "cloud:port"])
def test_what_is_no_address_is_refused_at_the_start(field: str, text: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{field} must be HOST:PORT"):
        Settings(**{"link_target": "127.0.0.1:1", field: text})
