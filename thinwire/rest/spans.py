"""A span for each request that asks for work."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from thinwire import tracing


class RequestSpans:
    """Middleware: a span for every POST, a child of the caller's where its headers name one.

    The handlers of `thinwire.rest.problems` run inside it and give it their error's code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # Health and metrics are asked for all day.
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                tracing.annotate(http_status=message["status"])
            await send(message)

        headers = Headers(scope=scope)
        with tracing.span("request", tracing.SERVER, headers):
            await self._app(scope, receive, told)
