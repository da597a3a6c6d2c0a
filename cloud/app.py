"""The cloud's REST interface: the plain model on a whole image, which is what one does without a link."""

import asyncio
import logging
import secrets
from collections.abc import Callable

import numpy as np
from fastapi import FastAPI, Request
from numpy.typing import NDArray

from cloud.batcher import Batcher
from cloud.servicer import rank_labels
from thinwire import tracing
from thinwire.bundle import Bundle
from thinwire.errors import DeadlineError, InvalidRequestError
from thinwire.images import Preprocessing, decode, to_pixels
from thinwire.metrics import CloudMetrics
from thinwire.rest import problems
from thinwire.rest.parsing import parse_classify
from thinwire.rest.routes import add_common, describe_classify
from thinwire.rest.schemas import BudgetBody, ClassifyResponse, LabelBody, Parameters, TimingsBody

log = logging.getLogger(__name__)


def create_app(
    bundle: Bundle,
    images: Batcher[NDArray[np.uint8], NDArray[np.float32]],
    ready: Callable[[], bool],
    metrics: CloudMetrics,
) -> FastAPI:
    """The application for one bundle.

    Args:
        images: runs the plain model on a ``size x size x 3`` array of uint8; gives ``classes`` logits.
        ready: whether the process takes requests.
        metrics: what to count with, and to show.
    """
    app = FastAPI(title="Thinwire cloud", description=__doc__, responses=problems.RESPONSES)

    async def is_ready() -> bool:
        return ready()

    add_common(app, [bundle], is_ready, metrics.registry)
    # Not in closures: FastAPI's caches keep the endpoints, and would keep these when the application is gone.
    app.state.images, app.state.metrics = images, metrics

    @app.post("/v1/classify", openapi_extra=describe_classify())
    async def classify(request: Request) -> ClassifyResponse:
        """Classify one image with the plain model. What concerns the link applies at the edge and is refused here."""
        with request.app.state.metrics.requests.counting():
            return await _classify(request, bundle)

    return app


async def _classify(request: Request, bundle: Bundle) -> ClassifyResponse:
    images: Batcher[NDArray[np.uint8], NDArray[np.float32]] = request.app.state.images
    metrics: CloudMetrics = request.app.state.metrics
    clock = asyncio.get_running_loop().time
    start = clock()
    data, parameters = await parse_classify(request)
    _refuse_link_parameters(parameters)
    parsed = clock()
    try:
        # From the request's start: the upload is part of what the user waits for.
        async with asyncio.timeout_at(start + parameters.timeout_ms / 1e3):
            with tracing.span("decode"):
                pixels = await asyncio.to_thread(_prepare, data, bundle.preprocessing)
            logits = await images.submit(pixels)
    except TimeoutError:
        raise DeadlineError(f"no answer within {parameters.timeout_ms:g} ms") from None
    outputs = [LabelBody(label=name, score=p) for name, p in rank_labels(logits, bundle.labels, parameters.top_k)]
    identity, end = secrets.token_hex(16), clock()
    tracing.annotate(request_id=identity)
    metrics.observe_image(end - parsed)
    timings = TimingsBody(edge=None, channel=None, cloud=1e3 * (end - parsed), total=1e3 * (end - start))
    log.info("image", extra={"request_id": identity, "bytes": len(data), "ms": round(timings.total, 3)})
    return ClassifyResponse(id=identity, outputs=outputs, policy=None, link=None, cost=None, timings_ms=timings)


def _prepare(data: bytes, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    return to_pixels(decode(data), preprocessing)


def _refuse_link_parameters(parameters: Parameters) -> None:
    """Refuse what would have no effect here: its sender would believe that it took effect."""
    refused = {
        f"policy {parameters.policy!r}": parameters.policy not in ("auto", "none"),
        "budget": parameters.budget != BudgetBody(),
        "channel": parameters.channel is not None,
    }
    for name, present in refused.items():
        if present:
            raise InvalidRequestError(f"{name}: the cloud has no link and runs the plain model; send this to the edge")
