"""``x-request-id``: the word by which a caller finds one request in everybody's logs. It means nothing to us."""

import re
import secrets
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinwire import logs

HEADER = b"x-request-id"
# Bytes that no HTTP header may hold are left out here and not by the server's library alone: it goes into a response.
_PRINTABLE = re.compile(rb"[\x20-\x7e\x80-\xff]{1,255}")


class RequestIds:
    """Middleware: every response has its request's ``x-request-id``, and so has every line that is logged meanwhile.

    Up to 255 printable characters are taken as they are; instead of anything else, 32 random hexadecimal digits.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = next((value.strip(b" \t") for name, value in scope["headers"] if name == HEADER), b"")
        name = given if _PRINTABLE.fullmatch(given) else secrets.token_hex(16).encode()

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, name)]}
            await send(message)

        before = logs.x_request_id.set(name.decode(errors="replace"))
        try:
            await self.app(scope, receive, named)
        finally:
            logs.x_request_id.reset(before)


class Application(FastAPI):
    """An application behind `RequestIds`, without FastAPI's own pages, which load scripts from another host.

    Middleware that is added stands inside Starlette's own for unexpected errors, whose responses it never sees.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, **settings)

    def build_middleware_stack(self) -> ASGIApp:
        """What answers requests."""
        return RequestIds(super().build_middleware_stack())
