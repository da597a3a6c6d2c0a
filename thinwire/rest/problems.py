"""Errors as RFC 9457 problem+json, from the one table that `thinwire.errors` is; on the routes of other protocols, in
the form of those.
"""

import json
import logging
import math
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from thinwire import tracing
from thinwire.errors import BudgetError, InvalidImageError, InvalidRequestError, ThinwireError, UnknownPolicyError
from thinwire.rest.schemas import ProblemBody

log = logging.getLogger(__name__)
# nginx's number for it; there is no standard one.
CLIENT_CLOSED_REQUEST = 499
MEDIA_TYPE = "application/problem+json"
# A body can hold a million unknown fields; nobody reads a million lines.
MAX_ERRORS = 10
MAX_PART_CHARACTERS = 80
# Of these, the value is the whole around what is wrong.
_WITHOUT_VALUE = {"missing", "json_invalid"}
# What of a chat completion such an error is about, where it does not know itself.
_PARAMS = {InvalidImageError.code: "messages", BudgetError.code: "budget", UnknownPolicyError.code: "policy"}
# What the paths of OpenAI's API begin with behind /v1, be they served here or not: its clients show nothing of
# problem+json.
_OPENAIS = {
    *("chat", "models"),
    *("responses", "completions", "embeddings", "images", "audio", "moderations", "files", "batches"),
}


class Error(BaseModel):
    """What went wrong: for people, by kind, in which field, and the code to test for."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """An error as OpenAI's API has it."""

    error: Error


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "An error by RFC 9457",
        "content": {MEDIA_TYPE: {"schema": ProblemBody.model_json_schema()}},
    }
}
OPENAI_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "An error in OpenAI's form", "model": ErrorBody}
}


def problem(error: ThinwireError) -> JSONResponse:
    """The response for an error of ours."""
    return JSONResponse(body(error), error.http_status, _headers(error), MEDIA_TYPE)


def body(error: ThinwireError) -> dict[str, Any]:
    """The JSON for an error of ours, where no response can begin any more."""
    tracing.fail(error.code, str(error))
    return _body(error.http_status, error.title, str(error), error.code)


def openai(error: ThinwireError) -> JSONResponse:
    """The response for an error of ours on a route of OpenAI's form."""
    headers = _headers(error)
    if error.retry_after_s is None:
        # Its clients would by themselves repeat what was a conflict or failed here.
        headers["x-should-retry"] = "false"
    return JSONResponse(openai_body(error), error.http_status, headers)


def openai_body(error: ThinwireError) -> dict[str, Any]:
    """The JSON for it, where no response can begin any more."""
    tracing.fail(error.code, str(error))
    return _openai_body(error.http_status, str(error), error.code, error.param or _PARAMS.get(error.code))


def _headers(error: ThinwireError) -> dict[str, str]:
    headers = dict(error.http_headers)
    if error.retry_after_s is not None:
        # HTTP knows whole seconds only, and none would be an invitation to come back at once.
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    return headers


def _body(status: int, title: str, detail: str, code: str) -> dict[str, Any]:
    return ProblemBody(type="about:blank", title=title, status=status, detail=detail, error=code).model_dump()


def _openai_body(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return ErrorBody(error=Error(message=message, type=kind, param=param, code=code)).model_dump()


def _is_openais(request: Request) -> bool:
    path = request.url.path
    return path.startswith("/v1/") and path.split("/", 3)[2] in _OPENAIS


def _is_kserves(request: Request) -> bool:
    return request.url.path == "/v2" or request.url.path.startswith("/v2/")


def kserve(error: ThinwireError) -> JSONResponse:
    """The response for an error of ours on a route of KServe's, whose clients show this text and no other."""
    tracing.fail(error.code, str(error))
    # To the protocol what is wrong with a request is typically 400.
    status = 400 if error.http_status == 422 else error.http_status
    return JSONResponse({"error": str(error)}, status, _headers(error))


def _answer(request: Request, error: ThinwireError) -> JSONResponse:
    if _is_kserves(request):
        return kserve(error)
    return openai(error) if _is_openais(request) else problem(error)


def answer(request: Request, error: ThinwireError) -> JSONResponse:
    """The response for an error of ours that no route has seen, in the form of the request's route."""
    return _answer(request, error)


def describe_validation(errors: list[Any]) -> str:
    """One line for pydantic's list of errors: where, what was expected, and the start of what came."""
    lines = [": ".join(filter(None, (name_of(error), error["msg"]))) + _got(error) for error in errors[:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        lines.append(f"and {len(errors) - MAX_ERRORS} more")
    return "; ".join(lines)


def name_of(error: Any) -> str | None:
    """The field that one of pydantic's errors is about, if it is about one."""
    loc = list(error["loc"])
    # Behind the index into a list of tagged unions pydantic names the tag, which is no field. A chat's is the only one.
    if loc[0:1] == ["messages"] and loc[2:3] == ["content"]:
        del loc[4:5]
    return ".".join(str(part)[:MAX_PART_CHARACTERS] for part in loc) or None


def _got(error: Any) -> str:
    if error.get("type") in _WITHOUT_VALUE or "input" not in error:
        return ""
    try:
        return ", got " + json.dumps(_cut(error["input"]), ensure_ascii=False, default=str)[:MAX_PART_CHARACTERS]
    except ValueError:
        # Of a number with thousands of digits Python makes no text.
        return ""


def _cut(value: Any) -> Any:
    """The start of a value of JSON, whose text can be that of an image."""
    if isinstance(value, str):
        return value[:MAX_PART_CHARACTERS]
    if isinstance(value, list):
        return [_cut(item) for item in value[:MAX_PART_CHARACTERS]]
    if isinstance(value, dict):
        return {_cut(name): _cut(item) for name, item in islice(value.items(), MAX_PART_CHARACTERS)}
    return value


def install(app: FastAPI) -> None:
    """Answer every error of an application with problem+json, or in the form of the protocol whose route it is."""

    @app.exception_handler(ThinwireError)
    async def ours(request: Request, error: ThinwireError) -> JSONResponse:
        if error.http_status >= 500:
            log.warning(str(error), extra={"error": error.code})
        return _answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        mistakes = list(error.errors())
        return _answer(request, InvalidRequestError(describe_validation(mistakes), name_of(mistakes[0])))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        status, detail, code = error.status_code, str(error.detail), "http_error"
        headers = dict(error.headers) if error.headers else None
        tracing.fail(code, detail)
        if _is_kserves(request):
            return JSONResponse({"error": detail}, status, headers)
        if _is_openais(request):
            if status == 404:
                detail = f"{request.url.path[:MAX_PART_CHARACTERS]} is not served here"
            return JSONResponse(_openai_body(status, detail, code), status, headers)
        return JSONResponse(_body(status, detail, detail, code), status, headers, MEDIA_TYPE)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        # Nobody reads it, and it is no error of ours.
        return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", exc_info=error)
        return _answer(request, ThinwireError("an unexpected error; see the log"))
