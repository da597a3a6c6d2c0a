"""``/metrics`` of a process that has no REST: prometheus_client's application, on a thread for each address."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from thinwire.addresses import listen


class Exposition:
    """Shows a registry to Prometheus over HTTP, from when it is made.

    Args:
        registry: what to show.
        host: name or address to listen on; see `thinwire.addresses.listen`.
        port: 0 takes a free one.

    Attributes:
        port: the port in use.

    Raises:
        UnavailableError: the address cannot be bound.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        self._servers = [_Server(listener) for listener in listen(host, port)]
        self.port = self._servers[0].server_port
        for server in self._servers:
            server.set_app(_at_metrics(make_wsgi_app(registry)))
            threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()

    async def stop(self) -> None:
        """Stop listening."""
        # Each looks for this twice a second.
        await asyncio.gather(*(asyncio.to_thread(server.shutdown) for server in self._servers))
        for server in self._servers:
            server.server_close()


class _Server(ThreadingMixIn, WSGIServer):
    """Serves on a socket that listens."""

    daemon_threads = True

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(("", 0), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        # Binding would have looked the host's name up.
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()


def _at_metrics(app: Callable[..., list[bytes]]) -> WSGIApplication:
    """Answers at ``/metrics`` alone, GET and HEAD; prometheus_client's own answers everywhere, and refuses HEAD."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        head: list[Any] = []
        # What takes us for a proxy asks for the whole URL.
        if urlsplit(environ["PATH_INFO"]).path != "/metrics":
            head, body = ["404 Not Found", []], [b"# HTTP 404: only /metrics is here\n"]
        else:
            body = app(environ | ({"REQUEST_METHOD": "GET"} if is_head else {}), lambda *given: head.extend(given))
        status, headers = head
        headers = [("Allow", "GET, HEAD, OPTIONS") if name == "Allow" else (name, value) for name, value in headers]
        start_response(status, [*headers, ("Content-Length", str(sum(map(len, body))))])
        return [] if is_head else body

    return answer


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of a request."""
