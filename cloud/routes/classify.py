"""``POST /v1/classify``: the plain model on an image."""

import logging
import secrets

from fastapi import FastAPI, Request

from cloud.classification import Ranking
from cloud.routes.common import Clock, classifying, metrics_of, observe_image, refuse_link_parameters
from thinwire import tracing
from thinwire.images import decode_apart
from thinwire.rest.application import while_connected, within
from thinwire.rest.models import named
from thinwire.rest.parsing import parse_classify
from thinwire.rest.routes import describe_classify
from thinwire.rest.schemas import ClassifyResponse, LabelBody

log = logging.getLogger(__name__)


def add_to(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post("/v1/classify", openapi_extra=describe_classify(), include_in_schema=is_served)
    async def classify(request: Request) -> ClassifyResponse:
        """Classify one image with the plain model. What concerns the link applies at the edge and is refused here."""
        with metrics_of(request).requests.counting():
            return await _classify(request)


async def _classify(request: Request) -> ClassifyResponse:
    clock, tasks = Clock.start(), classifying(request)
    data, parameters = await parse_classify(request)
    task = named(tasks, parameters.model)
    refuse_link_parameters(parameters)
    clock.lap()
    deadline_s = clock.deadline(parameters.timeout_ms)

    async def run() -> Ranking:
        with tracing.span("decode"):
            pixels, _ = await decode_apart(data, task.bundle.preprocessing, deadline_s)
        return await task.images.submit(pixels, deadline_s)

    ranking = await while_connected(request, within(run(), deadline_s, parameters.timeout_ms))
    outputs = [LabelBody(label=name, score=p) for name, p in ranking.best(task.bundle.labels, parameters.top_k)]
    identity, timings = secrets.token_hex(16), clock.timings()
    tracing.annotate(request_id=identity, bundle=task.bundle.name)
    observe_image(request, timings)
    told = {"request_id": identity, "bundle": task.bundle.name, "bytes": len(data), "ms": round(timings.total, 3)}
    log.info("image", extra=told)
    return ClassifyResponse(id=identity, outputs=outputs, policy=None, link=None, cost=None, timings_ms=timings)
