"""The gate in front of REST."""

from contextlib import ExitStack
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from thinwire.access import INFER, METRICS, Gate
from thinwire.errors import ThinwireError
from thinwire.rest import problems

# What tells no more than that there is somebody, and how that is asked.
OPEN = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready", "/docs", "/openapi.json")
_SCHEME = {"bearer": {"type": "http", "scheme": "bearer"}}


def allowed(path: str) -> frozenset[str]:
    """Permissions of which a path needs one; one that is not known infers."""
    return frozenset((METRICS if path == "/metrics" else INFER,))


class RestGate:
    """Lets requests through a gate to an application.

    Args:
        app: behind it; it sees GET in place of HEAD.
        gate: who may.
    """

    def __init__(self, app: ASGIApp, gate: Gate) -> None:
        self._app, self._gate = app, gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["method"] == "OPTIONS" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).getlist("authorization")
        # Which of several is meant nobody knows.
        authorization = given[0] if len(given) == 1 else None
        where = f"{scope['method']} {scope['path']}"
        with ExitStack() as stack:
            try:
                stack.enter_context(self._gate.request(authorization, allowed(scope["path"]), where))
            except ThinwireError as error:
                await problems.answer(Request(scope), error)(scope, receive, send)
                return
            await self._app(scope, receive, send)


def describe(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document that a token is needed, and where it is not."""
    document.setdefault("components", {})["securitySchemes"] = _SCHEME
    document["security"] = [{"bearer": []}]
    for path in OPEN:
        for operation in document["paths"].get(path, {}).values():
            operation["security"] = []
