"""REST at the edge: an image goes through the split, over the link, and comes back as an answer."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic.json_schema import models_json_schema
from starlette.requests import ClientDisconnect

from edge.service import Answer, EdgeService
from thinwire.rest import problems
from thinwire.rest.parsing import parse_classify
from thinwire.rest.schemas import (
    ChosenPolicyBody,
    ClassifyBody,
    ClassifyResponse,
    CostBody,
    HealthResponse,
    LabelBody,
    LinkBody,
    ModelBody,
    ModelsResponse,
    TimingsBody,
)

# Nobody reads it: the client has gone. The number is what access logs use for that.
CLIENT_CLOSED_REQUEST = 499
HEALTH_TIMEOUT_S = 1.0
HEALTH_CACHE_S = 1.0

_REFS = "#/components/schemas/{model}"
_BINARY = {"type": "string", "format": "binary"}
_PARAMETERS_TEXT = {"type": "string", "description": "JSON of the schema Parameters", "examples": ['{"top_k": 3}']}
_CLASSIFY_OPENAPI: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"$ref": _REFS.format(model="ClassifyBody")}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": _BINARY, "parameters": _PARAMETERS_TEXT},
                    "required": ["image"],
                }
            },
            "image/*": {"schema": _BINARY},
        },
    },
    "parameters": [
        {
            "name": "parameters",
            "in": "query",
            "required": False,
            "schema": _PARAMETERS_TEXT,
            "description": "For a raw image body only",
        }
    ],
}


class _App(FastAPI):
    """Documents the body that `parse_classify` reads, which FastAPI cannot see."""

    def openapi(self) -> dict[str, Any]:
        if not self.openapi_schema:
            _, definitions = models_json_schema([(ClassifyBody, "validation")], ref_template=_REFS)
            super().openapi()["components"]["schemas"].update(definitions["$defs"])
        return super().openapi()


class _Readiness:
    """Whether requests can be answered now. The engine and a valid front are there since the start."""

    def __init__(self, service: EdgeService) -> None:
        self._service = service
        self._lock = asyncio.Lock()
        self._ready = False
        self._until = -1.0

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._ready = await self._service.client.is_healthy(HEALTH_TIMEOUT_S)
                self._until = time.monotonic() + HEALTH_CACHE_S
            return self._ready


def create_app(service: EdgeService) -> FastAPI:
    """The REST application of an edge device.

    Args:
        service: what answers.
    """
    app = _App(title="Thinwire edge", description="Classifies images over a thin, noisy link")
    problems.install(app)
    readiness = _Readiness(service)

    @app.post(
        "/v1/classify",
        response_model=ClassifyResponse,
        responses=problems.RESPONSES,
        openapi_extra=_CLASSIFY_OPENAPI,
    )
    async def classify(request: Request) -> ClassifyResponse | Response:
        try:
            image, parameters = await parse_classify(request)
            return _response(await _while_connected(request, service.classify(image, parameters)))
        except ClientDisconnect:
            return Response(status_code=CLIENT_CLOSED_REQUEST)

    @app.get("/v1/policies", responses=problems.RESPONSES)
    async def policies() -> dict[str, Any]:
        front = service.front_file.current
        return {
            "bundle": {"name": front.bundle_name, "digest": front.bundle_digest},
            "digest": front.digest,
            "policies": [measured.to_json() for measured in front.policies],
        }

    @app.get("/v1/policies/{policy_id}", responses=problems.RESPONSES)
    async def policy(policy_id: str) -> dict[str, Any]:
        return service.front_file.current.get(policy_id).to_json()

    @app.get("/v1/models")
    async def models() -> ModelsResponse:
        bundle = service.bundle
        model = ModelBody(
            name=bundle.name,
            digest=bundle.digest,
            task=bundle.task,
            labels=list(bundle.labels),
            input_size=bundle.preprocessing.size,
            split_layer=bundle.split_layer,
            depth=bundle.depth,
            patches=bundle.patches,
            rates=list(bundle.codec.rates),
        )
        return ModelsResponse(models=[model])

    @app.get("/health/live")
    async def live() -> HealthResponse:
        return HealthResponse(status="ok")

    @app.get("/health/ready", responses={503: {"model": HealthResponse}})
    async def ready(response: Response) -> HealthResponse:
        if await readiness.check():
            return HealthResponse(status="ok")
        response.status_code = 503
        return HealthResponse(status="unavailable")

    return app


async def _while_connected(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """Result of the work, which is cancelled when the client goes away. The body must have been read.

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


def _response(answer: Answer) -> ClassifyResponse:
    return ClassifyResponse(
        id=answer.frame_id,
        outputs=[LabelBody(label=label, score=score) for label, score in answer.outputs],
        policy=ChosenPolicyBody(id=answer.policy_id, digest=answer.policy_digest, capped=answer.capped),
        link=LinkBody(
            tokens=answer.tokens,
            channel_uses=answer.uses.total,
            payload_uses=answer.uses.payload,
            pilot_uses=answer.uses.pilots,
            side_information_uses=answer.uses.side_information,
            cbr=answer.cbr,
            snr_db=answer.snr_db,
            airtime_ms=answer.airtime_ms,
        ),
        cost=CostBody(edge_gmacs=answer.edge_gmacs),
        timings_ms=TimingsBody(
            edge=answer.edge_ms, channel=answer.channel_ms, cloud=answer.cloud_ms, total=answer.total_ms
        ),
    )
