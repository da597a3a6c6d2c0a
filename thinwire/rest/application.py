"""What stands around every route: the request's name, its span, HEAD, and work that ends when nobody waits for it."""

import asyncio
import re
import secrets
from collections.abc import Coroutine
from contextlib import nullcontext
from typing import Any, TypeVar
from urllib.parse import unquote

from fastapi import FastAPI, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinwire import logs, tracing
from thinwire.access import Gate
from thinwire.errors import DeadlineError
from thinwire.rest.gate import RestGate, describe

T = TypeVar("T")
# The word by which a caller finds one request in everybody's logs. It means nothing to us.
REQUEST_ID = b"x-request-id"
# Bytes that no HTTP header may hold are left out here and not by the server's library alone: it goes into a response.
_PRINTABLE = re.compile(rb"[\x20-\x7e\x80-\xff]{1,255}")
_AUTHORITY = re.compile(rb"https?://[^/]*", re.IGNORECASE)


class Application(FastAPI):
    """An application without FastAPI's own pages, which load scripts from another host, and with what all of ours do.

    - Every response has its request's ``x-request-id``, and so has every line that is logged meanwhile. Up to 255
      printable characters are taken as they are; instead of anything else, 32 random hexadecimal digits.
    - A POST has a span, a child of the caller's where its headers name one. Health and metrics, which are asked for all
      day, have none. The handlers of `thinwire.rest.problems` run inside it and give it their error's code.
    - HEAD is answered as GET would be (RFC 9110, 9.3.2), which FastAPI's routes refuse; the server leaves the body out.
      It is no method of each route, so that it stays out of the OpenAPI document.
    - A request needs a token where the gate asks for one; see `thinwire.rest.gate`.
    - A request for a whole URL, as a client sends it that takes us for a proxy (RFC 9112, 3.2.2), is one for its path.
    """

    def __init__(self, gate: Gate | None = None, **settings: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, **settings)
        self.state.gate = gate or Gate()

    def build_middleware_stack(self) -> ASGIApp:
        """What answers requests: middleware that is added would not see how an unexpected error is answered."""
        return _Door(RestGate(super().build_middleware_stack(), self.state.gate))

    def openapi(self) -> dict[str, Any]:
        """The document, which says where a token is needed."""
        document = super().openapi()
        if self.state.gate.is_closed:
            describe(document)
        return document


class _Door:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((value.strip(b" \t") for name, value in scope["headers"] if name == REQUEST_ID), b"")
        request_id = given if _PRINTABLE.fullmatch(given) else secrets.token_hex(16).encode()
        is_work = scope["method"] == "POST"
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        # Uvicorn passes a whole URL on as a path. ASGI's servers may leave the raw path out.
        raw_path = scope.get("raw_path") or b""
        if found := _AUTHORITY.match(raw_path):
            raw_path = raw_path[found.end() :] or b"/"
            scope = {**scope, "raw_path": raw_path, "path": unquote(raw_path.decode("ascii"))}

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (REQUEST_ID, request_id)]}
                headers = MutableHeaders(scope=message)
                if message["status"] == 405 and headers.get("allow") == "GET":
                    headers["allow"] = "GET, HEAD"
                if is_work:
                    tracing.annotate(http_status=message["status"])
            await send(message)

        before = logs.x_request_id.set(request_id.decode(errors="replace"))
        try:
            with tracing.span("request", tracing.SERVER, Headers(scope=scope)) if is_work else nullcontext():
                await self._app(scope, receive, tell)
        finally:
            logs.x_request_id.reset(before)


async def within(work: Coroutine[Any, Any, T], deadline: float, timeout_ms: float) -> T:
    """The result of the work, which is cancelled when the event loop's clock shows ``deadline``.

    Args:
        timeout_ms: what the request asked for, for the message.

    Raises:
        DeadlineError: the clock does.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise DeadlineError(f"no answer within {timeout_ms:g} ms") from None
    finally:
        # Where the time is up already, it never began.
        work.close()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled when the client goes away. The body must have been read.

    Raises:
        ClientDisconnect: the client went away.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnection(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnection(request: Request) -> None:
    # Once the body is read, the server has nothing else to say; this waits and polls nothing.
    while (await request.receive())["type"] != "http.disconnect":
        pass
