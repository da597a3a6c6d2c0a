"""Errors in the form of OpenAI's API, whose clients show nothing of problem+json."""

from typing import Any

from pydantic import BaseModel

from thinwire.errors import BudgetError, InvalidImageError, ThinwireError, UnknownPolicyError

# What of a chat completion such an error is about, where it does not know itself.
_PARAMS = {InvalidImageError.code: "messages", BudgetError.code: "budget", UnknownPolicyError.code: "policy"}

# What its paths begin with behind /v1.
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
    "default": {"description": "An error in OpenAI's form", "model": ErrorBody}
}


def is_for(path: str) -> bool:
    """Whether errors of a path have this form: those of OpenAI's routes, be they served here or not."""
    return path.startswith("/v1/") and path.split("/", 3)[2] in _OPENAIS


def body(error: ThinwireError) -> dict[str, Any]:
    """The JSON for an error of ours."""
    param = error.param or _PARAMS.get(error.code)
    return of(error.http_status, str(error), error.code, param)


def of(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """The JSON for an error of an HTTP status."""
    kind = "rate_limit_error" if status == 429 else "server_error" if status >= 500 else "invalid_request_error"
    return ErrorBody(error=Error(message=message, type=kind, param=param, code=code)).model_dump()
