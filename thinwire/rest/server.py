"""Uvicorn inside an event loop that serves other things too."""

import asyncio
import contextlib
import math
import socket
from collections.abc import Iterator, Sequence

import uvicorn
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from thinwire import addresses
from thinwire.access import ServerTls
from thinwire.errors import UnavailableError

# Load balancers close an idle connection after 60 s as a rule. Were we the first to close it, a request could be under
# way on it, and be lost.
KEEP_ALIVE_S = 75


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals to whoever runs the loop, who drains the link as well."""
        yield


def _with_cors(app: FastAPI, origins: Sequence[str]) -> ASGIApp:
    # Around the whole application: as one of its middlewares it would not see what a failure is answered with. Cookies
    # mean nothing to us, so that any header may be sent and read.
    return CORSMiddleware(
        app, origins, allow_methods=("GET", "HEAD", "POST"), allow_headers=("*",), expose_headers=("*",)
    )


class HttpServer:
    """Serves one application.

    Args:
        app: what to serve.
        host: address to listen on.
        port: 0 takes a free one.
        grace_s: how long a stop waits for requests under way.
        keep_alive_s: how long a connection stays open between two requests.
        cors_origins: whose pages may read answers in a browser, as ``https://example.org``; "*" for all.
        tls: its certificate; None for plain text.
    """

    def __init__(
        self,
        app: FastAPI,
        host: str,
        port: int,
        grace_s: float,
        keep_alive_s: int = KEEP_ALIVE_S,
        cors_origins: Sequence[str] = (),
        tls: ServerTls | None = None,
    ) -> None:
        self._address = (host, port)
        self._server = _Uvicorn(
            uvicorn.Config(
                _with_cors(app, cors_origins) if cors_origins else app,
                lifespan="off",
                ws="none",
                log_config=None,
                access_log=False,
                timeout_keep_alive=keep_alive_s,
                timeout_graceful_shutdown=math.ceil(grace_s),
                ssl_context_factory=(lambda *_: tls.context()) if tls else None,
            )
        )
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> int:
        """Listen, and return the port.

        Raises:
            UnavailableError: the address cannot be bound.
        """
        # Bound here and not by uvicorn, which would end the process where we want to say what is wrong.
        listeners = _listen(*self._address)
        self._running = asyncio.create_task(self._server.serve(listeners))
        while not self._server.started:
            if self._running.done():
                for listener in listeners:
                    listener.close()
                await self._running
                raise UnavailableError("the HTTP server ended as it started")
            await asyncio.sleep(0.005)
        return int(listeners[0].getsockname()[1])

    async def stop(self) -> None:
        """Take no new requests, finish those under way within the grace, stop listening."""
        self._server.should_exit = True
        if self._running is not None:
            await self._running


def _listen(host: str, port: int) -> list[socket.socket]:
    listeners = addresses.listen(host, port)
    for listener in listeners:
        # Inherited by every connection. asyncio sets it on those of its own listeners only, and an answer whose head
        # and body leave in two pieces would wait 40 ms for the client's delayed acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listeners
