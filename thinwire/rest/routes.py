"""What every REST interface of ours has: models, health, and the descriptions of requests."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from thinwire.bundle import Bundle
from thinwire.rest import docs, models, problems
from thinwire.rest.events import MEDIA_TYPE
from thinwire.rest.schemas import (
    ClassifyBody,
    HealthResponse,
    Parameters,
    QuestionInputs,
    VqaBody,
    VqaParameters,
)
from thinwire.rest.transcriptions import TranscriptionBody

_TRANSCRIPTS = ("application/json", "text/plain", "text/vtt", MEDIA_TYPE)
TRANSCRIPTION_RESPONSES: dict[int | str, dict[str, Any]] = {
    **problems.OPENAI_RESPONSES,
    200: {
        "description": "What the clip says, in the response_format; or, if asked for, server-sent events: the text in "
        "pieces (transcript.text.delta), then the whole of it (transcript.text.done)",
        "content": {kind: {"schema": {"type": "object" if "json" in kind else "string"}} for kind in _TRANSCRIPTS},
    },
}


def add_common(
    app: FastAPI, bundles: Sequence[Bundle], ready: Callable[[], Awaitable[bool]], registry: CollectorRegistry
) -> None:
    """Add what is not a task: ``/v1/models``, ``/metrics``, ``/health/*`` and ``/docs``.

    Beside it every error is answered with problem+json.

    Args:
        app: one that FastAPI has added no pages to.
        bundles: what the process serves.
        ready: whether it takes requests now.
        registry: what ``/metrics`` shows.
    """
    problems.install(app)
    docs.add_to(app)
    # Not in closures: FastAPI's caches keep the endpoints, and would keep what they hold when the application is gone.
    app.state.ready, app.state.registry = ready, registry
    models.add_to(app, bundles)

    @app.get("/health/live")
    async def live() -> HealthResponse:
        """Whether the process lives."""
        return HealthResponse(status="ok")

    @app.get("/health/ready", responses={503: {"model": HealthResponse}})
    async def is_ready(request: Request, response: Response) -> HealthResponse:
        """Whether the process takes requests."""
        if await request.app.state.ready():
            return HealthResponse(status="ok")
        response.status_code = 503
        return HealthResponse(status="unavailable")

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Counters, gauges and histograms in Prometheus' text format."""
        return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def describe_classify() -> dict[str, Any]:
    """OpenAPI of the three forms that `parse_classify` reads, which FastAPI cannot see."""
    parameters = _inlined(Parameters.model_json_schema())
    binary = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": ["image"], "properties": {"image": binary, "parameters": parameters}}
    in_query = {
        "name": "parameters",
        "in": "query",
        "description": "With a raw image body only: the parameters as JSON",
        "content": {"application/json": {"schema": parameters}},
    }
    return describe_json(ClassifyBody, _form(form) | {"image/*": {"schema": binary}}) | {"parameters": [in_query]}


def describe_vqa() -> dict[str, Any]:
    """OpenAPI of the two forms that `parse_vqa` reads."""
    form = {
        "type": "object",
        "required": ["image", "question"],
        "additionalProperties": False,
        "properties": {
            "image": {"type": "string", "format": "binary"},
            "question": QuestionInputs.model_json_schema()["properties"]["question"],
            "parameters": _inlined(VqaParameters.model_json_schema()),
        },
    }
    return describe_json(VqaBody, _form(form))


def describe_transcription(has_held: bool = True) -> dict[str, Any]:
    """OpenAPI of the forms that `parse_transcription` reads.

    Args:
        has_held: whether what came before can be named in place of a file.
    """
    fields = _inlined(TranscriptionBody.model_json_schema())["properties"]
    given = {name: schema for name, schema in fields.items() if name != "id"}
    granularities = given.pop("timestamp_granularities")
    form = {
        "type": "object",
        "additionalProperties": False,
        "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary"},
            **given,
            "timestamp_granularities[]": granularities,
        },
    }
    content = {"multipart/form-data": {"schema": form}}
    if has_held:
        return describe_json(TranscriptionBody, content)
    return {"requestBody": {"required": True, "content": content}}


def _form(schema: dict[str, Any]) -> dict[str, Any]:
    encoding = {"parameters": {"contentType": "application/json"}}
    return {"multipart/form-data": {"schema": schema, "encoding": encoding}}


def describe_json(kind: type[BaseModel], others: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """OpenAPI of a body that `parse_only_json` reads.

    Args:
        others: what else it may be, by its media type.
    """
    content = {"application/json": {"schema": _inlined(kind.model_json_schema())}, **others}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A JSON schema with its definitions in place: a ``#/$defs/...`` inside an OpenAPI document points nowhere."""

    def resolve(node: Any) -> Any:
        if isinstance(node, list):
            return [resolve(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]] | node
        return {name: resolve(value) for name, value in node.items() if name not in ("$ref", "$defs")}

    resolved: dict[str, Any] = resolve(schema)
    return resolved
