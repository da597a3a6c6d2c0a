"""The three processes, or some of them, for as long as something is measured."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.ports import HOST, Ports
from deploy.testbed import LocalTestbed
from edge.device import Device
from edge.engine import Engine
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.fronts import FrontFile
from thinwire import rpc
from thinwire.bundle import FRONT, Bundle
from thinwire.v1 import control_pb2, control_pb2_grpc

LINK = ("cloud", "channel")


@contextmanager
def running(
    bundles: Sequence[Bundle],
    channel: Sequence[str] = (),
    processes: Sequence[str] = (*LINK, "edge"),
    ports: Ports | None = None,
) -> Iterator[LocalTestbed]:
    """Processes that serve bundles, with their logs out of the way; ``channel`` has arguments of the channel's."""
    folders = [str(bundle.folder) for bundle in bundles]
    with (
        TemporaryDirectory(prefix="thinwire-") as logs,
        LocalTestbed(folders, ports or Ports.free(), channel, Path(logs), processes) as testbed,
    ):
        yield testbed


@asynccontextmanager
async def edge_service(bundle: Bundle, engine: Engine, link: str, *device: Any) -> AsyncIterator[EdgeService]:
    """The edge in this process, on a link; ``device`` has further arguments of `Device`, its id first."""
    client = LinkClient(link)
    fronts = FrontFile(bundle.path(FRONT), bundle.digest)
    service = EdgeService(bundle, engine, fronts, Device(client, *device))
    try:
        yield service
    finally:
        service.device.close()
        await client.close()


def link_of(testbed: LocalTestbed) -> str:
    """Where the channel listens."""
    return f"{HOST}:{testbed.ports.channel_grpc}"


def counted_by_proxy(link: str) -> dict[str, control_pb2.LinkStatus]:
    """What the proxy counted of each link, by its id."""

    async def ask() -> dict[str, control_pb2.LinkStatus]:
        async with rpc.open_channel(link) as channel:
            stub: Any = control_pb2_grpc.ChannelControlStub(channel)  # type: ignore[no-untyped-call]
            return {one.link_id: one for one in (await stub.ListLinks(control_pb2.ListLinksRequest())).links}

    return asyncio.run(ask())
