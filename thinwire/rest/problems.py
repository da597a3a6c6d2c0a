"""Errors as RFC 9457 problem+json, from the one table that `thinwire.errors` is."""

import logging
import math
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from thinwire import tracing
from thinwire.errors import InvalidRequestError, ThinwireError
from thinwire.rest.schemas import ProblemBody

log = logging.getLogger(__name__)
# nginx's number for it; there is no standard one.
CLIENT_CLOSED_REQUEST = 499
MEDIA_TYPE = "application/problem+json"
# A body can hold a million unknown fields; nobody reads a million lines.
MAX_ERRORS = 10
MAX_PART_CHARACTERS = 80
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error by RFC 9457",
        "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
    }
}


def problem(error: ThinwireError) -> JSONResponse:
    """The response for an error of ours."""
    # HTTP knows whole seconds only, and none would be an invitation to come back at once.
    after_s = error.retry_after_s
    headers = dict(error.http_headers)
    if after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(after_s)))
    return _response(error.http_status, error.title, str(error), error.code, headers)


def body(error: ThinwireError) -> dict[str, Any]:
    """The JSON for an error of ours, where no response can begin any more."""
    tracing.fail(error.code, str(error))
    return _body(error.http_status, error.title, str(error), error.code)


def _response(status: int, title: str, detail: str, code: str, headers: dict[str, str] | None = None) -> JSONResponse:
    tracing.fail(code, detail)
    return JSONResponse(_body(status, title, detail, code), status, headers, MEDIA_TYPE)


def _body(status: int, title: str, detail: str, code: str) -> dict[str, Any]:
    return ProblemBody(type="about:blank", title=title, status=status, detail=detail, error=code).model_dump()


def describe_validation(errors: list[Any]) -> str:
    """One line for pydantic's list of errors: where, and what was expected."""
    lines = [
        ": ".join(filter(None, (".".join(str(part)[:MAX_PART_CHARACTERS] for part in error["loc"]), error["msg"])))
        for error in errors[:MAX_ERRORS]
    ]
    if len(errors) > MAX_ERRORS:
        lines.append(f"and {len(errors) - MAX_ERRORS} more")
    return "; ".join(lines)


def install(app: FastAPI) -> None:
    """Answer every error of an application with problem+json."""

    @app.exception_handler(ThinwireError)
    async def ours(_: Request, error: ThinwireError) -> JSONResponse:
        if error.http_status >= 500:
            log.warning(str(error), extra={"error": error.code})
        return problem(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(InvalidRequestError(describe_validation(list(error.errors()))))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return _response(error.status_code, str(error.detail), str(error.detail), "http_error", headers)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        # Nobody reads it, and it is no error of ours.
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", exc_info=error)
        return _response(500, ThinwireError.title, "an unexpected error; see the log", ThinwireError.code)
