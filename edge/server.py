"""The edge's process: REST and KServe's gRPC for users, gRPC health and reflection for whoever runs it."""

import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from edge.app import create_app
from edge.device import Device
from edge.engine import Engine
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.fronts import FrontFile
from thinwire import process
from thinwire.access import Gate, Security
from thinwire.access.rpc import open_server
from thinwire.addresses import Address, check_target, parse_address
from thinwire.bundle import FRONT, Bundle, check_served
from thinwire.channels import NOMINAL, Channel
from thinwire.frames import check_link_id
from thinwire.kserve import servicer as kserve
from thinwire.rest.server import KEEP_ALIVE_S, HttpServer

log = logging.getLogger(__name__)
DRAIN_S = 10


@dataclass(frozen=True)
class Settings:
    """How an edge device serves.

    Attributes:
        link_target: the proxy or the cloud, as ``host:port``.
        link_id: this device's name on the link.
        nominal: channel to assume before the link has said any.
        nominal_symbol_rate_hz: channel uses per second to assume likewise.
        rest_host: address of REST.
        rest_port: port of REST; 0 takes a free one.
        grpc_address: ``host:port`` of gRPC; port 0 takes a free one.
        keep_alive_s: see `HttpServer`.
        cors_origins: see `HttpServer`.
        security: who may ask, and as whom the link is.

    Raises:
        InvalidFrameError: no frame can have that link id.
        InvalidRequestError: `link_target` or `grpc_address` is no address.
    """

    link_target: str
    link_id: str = "edge"
    nominal: Channel = NOMINAL
    nominal_symbol_rate_hz: float = 10_000.0
    rest_host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_address: str = "127.0.0.1:8081"
    keep_alive_s: int = KEEP_ALIVE_S
    cors_origins: tuple[str, ...] = ()
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        check_target(self.link_target, "link_target")
        parse_address(self.grpc_address, "grpc_address")
        check_link_id(self.link_id)


class EdgeServer:
    """Serves bundles, several of one task among them.

    Args:
        engines: each bundle, whose folder holds its policy fronts, with what runs the device's side of it.
        settings: where and how.

    Raises:
        InvalidRequestError: there is no bundle, or two cannot be told apart; see `check_served`.

    Attributes:
        rest_port: the port of REST once started.
        grpc_port: the port of gRPC once started.
    """

    def __init__(self, engines: Sequence[tuple[Bundle, Engine]], settings: Settings) -> None:
        check_served([bundle for bundle, _ in engines])
        self.rest_port = 0
        self.grpc_port = 0
        self._engines = engines
        self._settings = settings
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Serve, once both addresses are bound and answer.

        Raises:
            UnavailableError: an address cannot be bound.
            BundleError: a bundle has no valid policy fronts.
            BundleMismatchError: its fronts belong to another bundle.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            fronts = [FrontFile(bundle.path(FRONT), bundle.digest) for bundle, _ in self._engines]
            security = settings.security
            gate = Gate(security.tokens, security.limits)
            client = LinkClient(settings.link_target, security.link_tls, security.link_token)
            stack.push_async_callback(client.close)
            device = Device(client, settings.link_id, settings.nominal, settings.nominal_symbol_rate_hz)
            stack.callback(device.close)
            services = [
                EdgeService(bundle, engine, front_file, device)
                for (bundle, engine), front_file in zip(self._engines, fronts, strict=True)
            ]
            app = create_app(device, services, gate)
            rest = HttpServer(
                app,
                settings.rest_host,
                settings.rest_port,
                DRAIN_S,
                settings.keep_alive_s,
                settings.cors_origins,
                security.tls,
            )
            self.rest_port = await rest.start()
            stack.push_async_callback(rest.stop)
            grpc_server = open_server([kserve.SERVICE], gate, security.tls)
            kserve.add_to(grpc_server, app.state.kserve)
            self.grpc_port = await grpc_server.start(settings.grpc_address)
            # Last in, first out: health says no before REST stops listening.
            stack.push_async_callback(grpc_server.stop)
            self._stack = stack.pop_all()
        security.warn([str(Address(settings.rest_host.strip("[]"), self.rest_port)), settings.grpc_address])
        log.info("edge serves", extra={"rest_port": self.rest_port, "grpc_port": self.grpc_port})

    async def stop(self) -> None:
        """Report unhealthy, take no new requests, finish those under way, close the link."""
        await self._stack.aclose()


async def serve(engines: Sequence[tuple[Bundle, Engine]], settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    Raises:
        UnavailableError: an address cannot be bound.
        BundleError: a bundle has no valid policy fronts.
        BundleMismatchError: its fronts belong to another bundle.
    """
    await process.run(EdgeServer(engines, settings))
