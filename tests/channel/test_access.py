"""Who may send over the channel, look at it and change it."""

import grpc
import httpx
import pytest

from channel.server import ChannelServer, Settings
from tests.access import TOKENS, closed, shown, walk_grpc
from tests.channel.conftest import FakeCloud
from thinwire.access import Security
from thinwire.rpc import Server, open_channel
from thinwire.v1 import link_pb2_grpc


@pytest.fixture
async def cloud():
    cloud, server = FakeCloud(), Server(["thinwire.v1.SemanticLink"])
    link_pb2_grpc.add_SemanticLinkServicer_to_server(cloud, server.grpc_server)
    cloud.port = await server.start("127.0.0.1:0")
    yield cloud
    await server.stop(0)


@pytest.fixture
async def start(cloud):
    started = []

    async def start(security):
        settings = Settings(f"127.0.0.1:{cloud.port}", "127.0.0.1:0", metrics_port=0, security=security)
        proxy = ChannelServer(settings)
        channel = open_channel(f"127.0.0.1:{await proxy.start()}")
        started.append((proxy, channel))
        return proxy, channel

    yield start
    for proxy, channel in started:
        await channel.close()
        await proxy.stop(0)


async def test_nothing_but_health_is_served_without_a_token(start, tmp_path):
    _, channel = await start(closed(tmp_path))
    walked = await walk_grpc(channel, lambda method: "chief" if "Control" in method else "alice")
    assert len(walked) == 6


async def test_metrics_are_for_those_who_may_read_them(start, tmp_path):
    proxy, _ = await start(closed(tmp_path))
    url = f"http://127.0.0.1:{proxy.metrics_port}/metrics"
    async with httpx.AsyncClient() as http:
        refused = await http.get(url)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="thinwire"')
        assert (await http.get(url, headers=shown("alice"))).status_code == 403
        assert (await http.get(url, headers=shown("meter"))).status_code == 200
        assert (await http.options(url)).status_code == 200


async def test_a_link_is_whose_frames_came_over_it_first(start, tmp_path, make_frame):
    _, channel = await start(closed(tmp_path))
    stub = link_pb2_grpc.SemanticLinkStub(channel)
    await stub.Infer(make_frame(), metadata=tuple(shown("alice").items()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Infer(make_frame(), metadata=tuple(shown("bob").items()))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    results = stub.Stream(iter([make_frame()]), metadata=tuple(shown("bob").items()))
    assert [one.problem.code async for one in results] == ["unknown_link"]


async def test_the_cloud_is_told_who_sends(start, cloud, make_frame, tmp_path):
    _, channel = await start(Security(link_token="channels"))
    stub = link_pb2_grpc.SemanticLinkStub(channel)
    await stub.Infer(make_frame())
    told = (*shown("edge").items(), ("thinwire-on-behalf", "alice 00"))
    await stub.Infer(make_frame(), metadata=told)
    first, second = cloud.metadata
    assert first["authorization"] == "Bearer channels"
    assert second["authorization"] == f"Bearer {TOKENS['edge']}"
    assert second["thinwire-on-behalf"] == "alice 00"
