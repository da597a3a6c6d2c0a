"""The edge's process: REST for users, gRPC health and reflection for whoever runs it."""

import asyncio
import logging
import signal
import socket
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

import uvicorn

from edge.app import create_app
from edge.engine import Engine
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.front import FrontFile
from thinwire import rpc
from thinwire.bundle import FRONT, Bundle
from thinwire.errors import UnavailableError

log = logging.getLogger(__name__)
DRAIN_S = 10


@dataclass(frozen=True)
class Settings:
    """How an edge device serves.

    Attributes:
        link_target: the proxy or the cloud, as ``host:port``.
        link_id: this device's name on the link.
        nominal_snr_db: average SNR in dB to assume before the link has said any.
        rest_host: address of REST.
        rest_port: port of REST; 0 takes a free one.
        grpc_address: ``host:port`` of gRPC health and reflection; port 0 takes a free one.
    """

    link_target: str
    link_id: str = "edge"
    nominal_snr_db: float = 10.0
    rest_host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_address: str = "127.0.0.1:8081"


class EdgeServer:
    """Serves one bundle.

    Args:
        bundle: what to serve; its folder holds the policy front.
        engine: runs the device's side of the bundle.
        settings: where and how.

    Attributes:
        rest_port: the port of REST once started.
        grpc_port: the port of gRPC once started.
    """

    def __init__(self, bundle: Bundle, engine: Engine, settings: Settings) -> None:
        self.rest_port = 0
        self.grpc_port = 0
        self._bundle = bundle
        self._engine = engine
        self._settings = settings
        self._stack = AsyncExitStack()

    async def start(self) -> None:
        """Serve, once both addresses are bound and answer.

        Raises:
            UnavailableError: an address cannot be bound.
            BundleError: the bundle has no valid policy front.
            BundleMismatchError: its front belongs to another bundle.
        """
        settings = self._settings
        async with AsyncExitStack() as stack:
            front_file = FrontFile(self._bundle.path(FRONT), self._bundle.digest)
            rest_socket = _bind(settings.rest_host, settings.rest_port)
            stack.callback(rest_socket.close)
            client = LinkClient(settings.link_target)
            stack.push_async_callback(client.close)
            service = EdgeService(
                self._bundle, self._engine, front_file, client, settings.link_id, settings.nominal_snr_db
            )
            stack.callback(service.close)
            rest = _Uvicorn(
                uvicorn.Config(
                    create_app(service),
                    log_config=None,
                    access_log=False,
                    lifespan="off",
                    ws="none",
                    timeout_graceful_shutdown=DRAIN_S,
                )
            )
            running = asyncio.create_task(rest.serve([rest_socket]))
            stack.push_async_callback(_drain, rest, running)
            while not rest.started:
                if running.done():
                    await running
                    raise UnavailableError("REST did not start")
                await asyncio.sleep(0.01)
            grpc_server = rpc.Server([])
            self.grpc_port = await grpc_server.start(settings.grpc_address)
            # Last in, first out: health says no before REST stops listening.
            stack.push_async_callback(grpc_server.stop)
            self.rest_port = rest_socket.getsockname()[1]
            self._stack = stack.pop_all()
        log.info("edge serves", extra={"rest_port": self.rest_port, "grpc_port": self.grpc_port})

    async def stop(self) -> None:
        """Report unhealthy, take no new requests, finish those under way, close the link."""
        await self._stack.aclose()


async def serve(bundle: Bundle, engine: Engine, settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once.

    Raises:
        UnavailableError: an address cannot be bound.
        BundleError: the bundle has no valid policy front.
        BundleMismatchError: its front belongs to another bundle.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, stopping.set)
    server = EdgeServer(bundle, engine, settings)
    try:
        await server.start()
        await stopping.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        await server.stop()


class _Uvicorn(uvicorn.Server):
    """Uvicorn inside our loop, where signals are ours."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def _drain(rest: uvicorn.Server, running: asyncio.Task[None]) -> None:
    rest.should_exit = True
    await running


def _bind(host: str, port: int) -> socket.socket:
    # Bound here and not by uvicorn, which would end the process where we want to say what is wrong.
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise UnavailableError(f"cannot listen on {host}:{port}: {error.strerror}") from None
