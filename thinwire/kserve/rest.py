"""The protocol's routes under ``/v2``."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from thinwire.kserve import bodies
from thinwire.kserve.answering import answer
from thinwire.kserve.bodies import InferBody
from thinwire.kserve.models import Backend, describe, describe_server, find
from thinwire.rest.application import while_connected
from thinwire.rest.parsing import check_query, read_body
from thinwire.rest.routes import describe_json

_MODEL = "/v2/models/{model:path}"
_VERSION = _MODEL + "/versions/{version}"


class ErrorBody(BaseModel):
    """An error in the protocol's form."""

    error: str


RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {"description": "An error in the protocol's form", "model": ErrorBody}
}
_INFERRED = {
    "description": "The outputs; binary ones behind the JSON, whose length is then in Inference-Header-Content-Length",
    "content": {
        "application/json": {"schema": {"type": "object"}},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


def add_to(app: FastAPI, backend: Backend) -> None:
    """Add the routes. A model's name may hold slashes, which clients do not escape."""
    # Not in a closure: FastAPI's caches keep the endpoints, and would keep it when the application is gone.
    app.state.kserve = backend

    @app.get("/v2", responses=RESPONSES)
    async def server(request: Request) -> dict[str, Any]:
        """What this server is, by KServe's Open Inference Protocol."""
        return describe_server(_backend(request))

    @app.get("/v2/health/live", responses=RESPONSES)
    async def live() -> dict[str, bool]:
        """Whether the process lives."""
        return {"live": True}

    @app.get("/v2/health/ready", responses=RESPONSES)
    async def ready(request: Request) -> Response:
        """Whether the process takes requests: 200, or else 503."""
        return await _ready(request, {})

    # The longer paths first, since a name may hold slashes.
    @app.get(_VERSION + "/ready", responses=RESPONSES)
    async def version_ready(request: Request, model: str, version: str) -> Response:
        """Whether a version of a model takes requests: 200, or else 503."""
        return await _ready(request, {"name": find(_backend(request), model, version).name})

    @app.get(_MODEL + "/ready", responses=RESPONSES)
    async def model_ready(request: Request, model: str) -> Response:
        """Whether a model takes requests: 200, or else 503."""
        return await _ready(request, {"name": find(_backend(request), model).name})

    @app.get(_VERSION, responses=RESPONSES)
    async def version_metadata(request: Request, model: str, version: str) -> dict[str, Any]:
        """The tensors of a version of a model."""
        backend = _backend(request)
        return describe(find(backend, model, version), backend.has_link)

    @app.get(_MODEL, responses=RESPONSES)
    async def metadata(request: Request, model: str) -> dict[str, Any]:
        """The tensors of a model; its version is its digest."""
        backend = _backend(request)
        return describe(find(backend, model), backend.has_link)

    described = describe_json(InferBody, _BINARY)

    @app.post(_VERSION + "/infer", responses={200: _INFERRED, **RESPONSES}, openapi_extra=described)
    async def infer_version(request: Request, model: str, version: str) -> Response:
        """Answer some images, by a version of a model."""
        return await _infer(request, model, version)

    @app.post(_MODEL + "/infer", responses={200: _INFERRED, **RESPONSES}, openapi_extra=described)
    async def infer(request: Request, model: str) -> Response:
        """Answer some images: the JSON of the protocol, its inputs in it or as they are behind it."""
        return await _infer(request, model)


def _backend(request: Request) -> Backend:
    backend: Backend = request.app.state.kserve
    return backend


async def _ready(request: Request, told: dict[str, Any]) -> Response:
    is_ready = await _backend(request).ready()
    return JSONResponse({**told, "ready": is_ready}, 200 if is_ready else 503)


async def _infer(request: Request, model: str, version: str = "") -> Response:
    backend = _backend(request)
    with backend.counting_failure():
        check_query(request, set())
        # Whatever its content type: clients send none, or that of bytes for plain JSON.
        body = await read_body(request, bodies.MAX_BYTES)
        parsed = bodies.parse(body, request.headers.getlist(bodies.LENGTH_HEADER), model, version)
    response = await while_connected(request, answer(backend, parsed.request))
    content, headers = bodies.compose(response, parsed)
    return Response(content, headers=headers)
