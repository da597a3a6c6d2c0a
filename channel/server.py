"""The proxy as a process."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from channel.control import ChannelControl
from channel.exposition import Exposition
from channel.links import CarriedFrames, LinkTable
from channel.profiles import Profile
from channel.proxy import ChannelMetrics, ChannelProxy
from channel.trace import Trace
from thinwire import process
from thinwire.access import Gate, Security
from thinwire.access.rpc import Peer, open_server
from thinwire.addresses import Address, check_target, parse_address
from thinwire.errors import UnavailableError
from thinwire.rpc import is_serving
from thinwire.v1 import control_pb2, control_pb2_grpc, link_pb2, link_pb2_grpc

_LINK = link_pb2.DESCRIPTOR.services_by_name["SemanticLink"].full_name
_SERVICES = (_LINK, control_pb2.DESCRIPTOR.services_by_name["ChannelControl"].full_name)
# How often the cloud is asked for its health, and how long it has to answer.
_HEALTH_PERIOD_S = 1.0
_HEALTH_TIMEOUT_S = 1.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a proxy is started with.

    Attributes:
        upstream: ``host:port`` of the cloud's link.
        listen: ``host:port`` to serve on; port 0 takes a free one.
        profile: the default profile.
        default_timeout_s: seconds that the cloud has to answer when a client sets no deadline.
        security: who may send and look, and how the cloud is reached.
        metrics_port: port of ``/metrics``, on the host of ``listen``; 0 takes a free one, None serves no metrics.
        trace: what the default profile's SNR and symbol rate follow from the start; None keeps them still.

    Raises:
        InvalidRequestError: `upstream` or `listen` is no address.
    """

    upstream: str
    listen: str = "127.0.0.1:50061"
    profile: Profile = field(default_factory=Profile)
    default_timeout_s: float = 30.0
    trace: Trace | None = None
    metrics_port: int | None = None
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        check_target(self.upstream, "upstream")
        parse_address(self.listen, "listen")


class ChannelServer:
    """A proxy with its control, health and reflection, connected to the cloud.

    Its health as a process says that it runs; that of the service `SemanticLink` is the cloud's, as last heard.

    Make it inside a running event loop.

    Args:
        settings: what to serve, and where.
        clock: seconds from any origin; a trace starts now.

    Attributes:
        metrics_port: the port of ``/metrics`` once started; None without one.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        security = settings.security
        self._upstream = Peer(settings.upstream, security.link_tls, link_pb2_grpc.SemanticLinkStub)
        self._gate = Gate(security.tokens, security.limits)
        self._metrics = ChannelMetrics()
        self._exposition: Exposition | None = None
        self.metrics_port: int | None = None
        links = LinkTable(settings.profile, trace=settings.trace, clock=clock)
        proxy = ChannelProxy(
            lambda: self._upstream.stub,
            links,
            CarriedFrames(clock=clock),
            default_timeout_s=settings.default_timeout_s,
            metrics=self._metrics,
            gate=self._gate,
            token=security.link_token,
        )
        self._server = open_server(_SERVICES, self._gate, security.tls)
        self._watch: asyncio.Task[None] | None = None
        link_pb2_grpc.add_SemanticLinkServicer_to_server(proxy, self._server.grpc_server)  # type: ignore[no-untyped-call]
        control_pb2_grpc.add_ChannelControlServicer_to_server(  # type: ignore[no-untyped-call]
            ChannelControl(links), self._server.grpc_server
        )

    async def start(self) -> int:
        """Listen, and return the port. The cloud need not be up yet; its health is awaited for a second.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        serving = await self._cloud_serves()
        host = parse_address(self._settings.listen, "listen").host
        if self._settings.metrics_port is not None:
            self._exposition = Exposition(
                self._metrics.registry,
                host,
                self._settings.metrics_port,
                self._gate,
                self._settings.security.tls,
            )
            self.metrics_port = self._exposition.port
        try:
            port = await self._server.start(self._settings.listen)
        except UnavailableError:
            await self._stop_exposition()
            raise
        await self._server.set_serving(_LINK, serving)
        self._watch = asyncio.create_task(self._watch_cloud())
        self._settings.security.warn([self._settings.listen])
        _log.info(
            "channel proxy is listening",
            extra={
                "address": str(Address(host, port)),
                "upstream": self._settings.upstream,
                "metrics_port": self.metrics_port,
            },
        )
        return port

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no more frames, finish those in flight within ``grace_s`` seconds, and disconnect."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._server.stop(grace_s)
        await self._upstream.close()
        await self._stop_exposition()

    async def _stop_exposition(self) -> None:
        if self._exposition is not None:
            await self._exposition.stop()
            self._exposition = None

    async def _cloud_serves(self) -> bool:
        return await is_serving(self._upstream.channel, _LINK, _HEALTH_TIMEOUT_S)

    async def _watch_cloud(self) -> None:
        while True:
            await asyncio.sleep(_HEALTH_PERIOD_S)
            await self._server.set_serving(_LINK, await self._cloud_serves())


async def serve(settings: Settings) -> None:
    """Run a proxy until SIGTERM or SIGINT, then drain it.

    Raises:
        UnavailableError: the address cannot be bound.
    """
    await process.run(ChannelServer(settings))
