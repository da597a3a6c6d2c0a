"""``/metrics`` of a process that has no REST: prometheus_client's own server, on a thread."""

import asyncio
import threading
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from thinwire.errors import UnavailableError


class Exposition:
    """Shows a registry to Prometheus over HTTP, from when it is made.

    Args:
        registry: what to show.
        host: address to listen on.
        port: 0 takes a free one.

    Attributes:
        port: the port in use.

    Raises:
        UnavailableError: the address cannot be bound.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except (OSError, OverflowError) as error:
            raise UnavailableError(f"cannot listen on {host}:{port}: {error}") from None
        self.port = self._server.server_port

    async def stop(self) -> None:
        """Stop listening."""
        # It looks for this twice a second.
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
