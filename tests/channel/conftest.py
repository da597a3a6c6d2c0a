"""A proxy between a real client and a fake cloud, all over gRPC on 127.0.0.1."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc.aio
import numpy as np
import pytest

from channel.models import registry
from channel.profiles import Profile
from channel.server import ChannelServer, Settings
from channel.trace import Trace
from tests.ports import reserved_port
from thinwire.frames import pack_symbols
from thinwire.rpc import Server, open_channel
from thinwire.v1 import control_pb2_grpc, link_pb2, link_pb2_grpc

REQUEST_ID = "0123456789abcdef0123456789abcdef"
MakeFrame: TypeAlias = Callable[..., link_pb2.Frame]
StartRig: TypeAlias = "Callable[..., Awaitable[Rig]]"


@pytest.fixture(autouse=True)
def _own_models() -> Iterator[None]:
    """A test that adds a model leaves it to no other."""
    yield
    registry.get.cache_clear()
    registry.canonical.cache_clear()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens soon, unless it never does."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class FakeClock:
    """Shows the time that it is set to."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeCloud(link_pb2_grpc.SemanticLinkServicer):
    """Keeps what it receives, and answers as `behave` says."""

    def __init__(self) -> None:
        self.frames: list[link_pb2.Frame] = []
        self.metadata: list[dict[str, Any]] = []
        self.remaining_s: list[float] = []
        self.behave: Callable[[link_pb2.Frame, Any], Awaitable[None]] | None = None

    async def Infer(self, request: link_pb2.Frame, context: Any) -> link_pb2.Result:  # noqa: N802
        self.frames.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining_s.append(context.time_remaining())
        if self.behave is not None:
            await self.behave(request, context)
        return link_pb2.Result(
            link_id=request.link_id,
            request_id=request.request_id,
            sequence_number=request.sequence_number,
            outputs=[link_pb2.Label(label="cat", score=1.0)],
            cloud_ms=12.5,
        )


@dataclass
class Rig:
    """The running parts, and stubs to the proxy."""

    cloud: FakeCloud
    cloud_server: Server
    proxy: ChannelServer
    cloud_address: str
    address: str
    channel: grpc.aio.Channel
    link: link_pb2_grpc.SemanticLinkStub = field(init=False)
    control: control_pb2_grpc.ChannelControlStub = field(init=False)

    def __post_init__(self) -> None:
        self.link = link_pb2_grpc.SemanticLinkStub(self.channel)
        self.control = control_pb2_grpc.ChannelControlStub(self.channel)


@pytest.fixture
async def start_rig() -> AsyncIterator[StartRig]:
    """A function that starts the whole rig with the default profile that it is given."""
    rigs: list[Rig] = []
    held = contextlib.ExitStack()

    async def start(
        profile: Profile | None = None,
        default_timeout_s: float = 30.0,
        trace: Trace | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> Rig:
        cloud, cloud_server = FakeCloud(), Server(["thinwire.v1.SemanticLink"])
        link_pb2_grpc.add_SemanticLinkServicer_to_server(cloud, cloud_server.grpc_server)
        # Held while the cloud is away, for it may come back.
        cloud_address = f"127.0.0.1:{held.enter_context(reserved_port())}"
        await cloud_server.start(cloud_address)
        settings = Settings(cloud_address, "127.0.0.1:0", profile or Profile(), default_timeout_s, trace)
        proxy = ChannelServer(settings, clock)
        address = f"127.0.0.1:{await proxy.start()}"
        rigs.append(Rig(cloud, cloud_server, proxy, cloud_address, address, open_channel(address)))
        return rigs[-1]

    yield start
    for rig in rigs:
        await rig.channel.close()
        await rig.proxy.stop(0)
        await rig.cloud_server.stop(0)
    held.close()


@pytest.fixture
async def rig(start_rig: StartRig) -> Rig:
    """A rig with the standard profile: AWGN at 10 dB, seed 0."""
    return await start_rig()


@pytest.fixture
def make_frame() -> MakeFrame:
    """A function that makes a valid frame of unit power; keywords replace its fields."""

    def make(tokens: int = 4, symbols_per_token: int = 8, **fields: Any) -> link_pb2.Frame:
        parts = np.random.default_rng(1).standard_normal((tokens, symbols_per_token, 2)).astype(np.float32)
        parts /= math.sqrt(float(np.sum(parts.astype(np.float64) ** 2)) / (tokens * symbols_per_token))
        values: dict[str, Any] = {
            "link_id": "camera-1",
            "request_id": REQUEST_ID,
            "sequence_number": 3,
            "task": "classify",
            "tokens": tokens,
            "symbols_per_token": symbols_per_token,
            "symbols": pack_symbols(parts.view(np.complex64)[..., 0]),
        }
        return link_pb2.Frame(**(values | fields))

    return make
