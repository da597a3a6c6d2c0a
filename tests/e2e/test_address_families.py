"""Edge, channel and cloud on IPv6, on both families at once, and by name: whatever they serve is reached there."""

import asyncio
import contextlib

import httpx
import pytest

from channel.server import ChannelServer
from channel.server import Settings as ChannelSettings
from cloud.server import CloudServer
from cloud.server import Settings as CloudSettings
from cloud.torch_classifier import TorchClassifier
from deploy import healthcheck
from edge.server import EdgeServer
from edge.server import Settings as EdgeSettings
from edge.torch_engine import TorchEngine
from tests.network import needs_both, needs_ipv6
from tests.parts import random_pixels
from thinwire.images import to_png

LINK = "thinwire.v1.SemanticLink"


@pytest.mark.parametrize(
    ("host", "address", "reached"),
    [
        pytest.param("::1", "[::1]", ["[::1]"], marks=needs_ipv6),
        pytest.param("[::1]", "[::1]", ["[::1]"], marks=needs_ipv6),
        pytest.param("::", "[::]", ["[::1]", "127.0.0.1"], marks=needs_both),
        ("0.0.0.0", "0.0.0.0", ["127.0.0.1"]),
        ("localhost", "localhost", ["localhost", "127.0.0.1"]),
    ],
)
async def test_all_that_they_serve_is_reached(tiny_bundle, host, address, reached):
    cloud = CloudServer(
        [(tiny_bundle, TorchClassifier.load(tiny_bundle))], CloudSettings(f"{address}:0", rest_host=host, rest_port=0)
    )
    async with contextlib.AsyncExitStack() as stack:
        await cloud.start()
        stack.push_async_callback(cloud.stop)
        peer = reached[0]
        channel = ChannelServer(ChannelSettings(f"{peer}:{cloud.grpc_port}", f"{address}:0", metrics_port=0))
        link_port = await channel.start()
        stack.push_async_callback(channel.stop)
        settings = EdgeSettings(f"{peer}:{link_port}", rest_host=host, rest_port=0, grpc_address=f"{address}:0")
        edge = EdgeServer([(tiny_bundle, TorchEngine.load(tiny_bundle))], settings)
        await edge.start()
        stack.push_async_callback(edge.stop)
        for peer in reached:
            for target in (
                f"http://{peer}:{edge.rest_port}/health/ready",
                f"http://{peer}:{cloud.rest_port}/health/ready",
                f"http://{peer}:{channel.metrics_port}/metrics",
                f"{peer}:{edge.grpc_port}",
                f"{peer}:{link_port}/{LINK}",
                f"{peer}:{cloud.grpc_port}/{LINK}",
            ):
                assert await asyncio.to_thread(healthcheck.trouble, target) is None
            async with httpx.AsyncClient(base_url=f"http://{peer}:{edge.rest_port}", timeout=60) as client:
                answer = await client.post(
                    "/v1/classify", content=to_png(random_pixels(1)[0]), headers={"content-type": "image/png"}
                )
            assert answer.json()["outputs"][0]["label"] in tiny_bundle.labels
