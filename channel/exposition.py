"""``/metrics`` of a process that has no REST: prometheus_client's application, on a thread for each address."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app

from thinwire.access import METRICS, Gate, ServerTls
from thinwire.access.tls import tell
from thinwire.addresses import listen
from thinwire.errors import ThinwireError

# How long a peer has to begin TLS.
_HANDSHAKE_S = 10.0


class Exposition:
    """Shows a registry to Prometheus over HTTP, from when it is made.

    Args:
        registry: what to show.
        host: name or address to listen on; see `thinwire.addresses.listen`.
        port: 0 takes a free one.
        gate: who may look; None: anybody.
        tls: of the address; None for plain text.

    Attributes:
        port: the port in use.

    Raises:
        UnavailableError: the address cannot be bound.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        gate: Gate | None = None,
        tls: ServerTls | None = None,
    ) -> None:
        self._servers = [_Server(listener, tls) for listener in listen(host, port)]
        self.port = self._servers[0].server_port
        for server in self._servers:
            server.set_app(_at_metrics(make_wsgi_app(registry), gate or Gate()))
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

    def __init__(self, listener: socket.socket, tls: ServerTls | None) -> None:
        super().__init__(("", 0), _Quiet, bind_and_activate=False)
        self._context = tls.context() if tls else None
        self.socket.close()
        self.socket = listener
        # Binding would have looked the host's name up.
        self.server_name, self.server_port = listener.getsockname()[:2]
        self.setup_environ()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection, on its own thread."""
        if self._context is None:
            super().finish_request(request, client_address)
            return
        request.settimeout(_HANDSHAKE_S)
        try:
            secured = self._context.wrap_socket(request, server_side=True)
        except ssl.SSLError as error:
            tell(error)
            return
        except OSError:
            # Whoever it was left, or said nothing.
            return
        with secured:
            secured.settimeout(None)
            super().finish_request(secured, client_address)


def _at_metrics(app: Callable[..., list[bytes]], gate: Gate) -> WSGIApplication:
    """Answers at ``/metrics`` alone, GET and HEAD; prometheus_client's own answers everywhere, and refuses HEAD."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        is_head = environ["REQUEST_METHOD"] == "HEAD"
        head: list[Any] = []
        # What takes us for a proxy asks for the whole URL.
        if urlsplit(environ["PATH_INFO"]).path != "/metrics":
            head, body = ["404 Not Found", []], [b"# HTTP 404: only /metrics is here\n"]
        elif refusal := _refusal(environ, gate):
            status, told = HTTPStatus(refusal.http_status), list(refusal.http_headers.items())
            head, body = [f"{status.value} {status.phrase}", told], [f"# {refusal}\n".encode()]
        else:
            body = app(environ | ({"REQUEST_METHOD": "GET"} if is_head else {}), lambda *given: head.extend(given))
        status, headers = head
        headers = [("Allow", "GET, HEAD, OPTIONS") if name == "Allow" else (name, value) for name, value in headers]
        start_response(status, [*headers, ("Content-Length", str(sum(map(len, body))))])
        return [] if is_head else body

    return answer


def _refusal(environ: WSGIEnvironment, gate: Gate) -> ThinwireError | None:
    """Why a request is not let in."""
    if environ["REQUEST_METHOD"] == "OPTIONS":
        return None
    try:
        gate.find(environ.get("HTTP_AUTHORIZATION"), frozenset((METRICS,)))
    except ThinwireError as error:
        return error
    return None


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing of a request."""
