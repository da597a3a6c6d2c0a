"""REST at the edge: an image goes through the split, over the link, and comes back as an answer."""

import asyncio
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request
from fastapi.exceptions import RequestValidationError
from starlette.requests import ClientDisconnect

from edge.answer import Answer
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from thinwire.errors import InvalidRequestError, UnknownTaskError
from thinwire.frames import REQUEST_ID_PATTERN
from thinwire.rest import problems
from thinwire.rest.parsing import parse_classify
from thinwire.rest.routes import add_common, describe_classify
from thinwire.rest.schemas import (
    ChosenPolicyBody,
    ClassifyResponse,
    CostBody,
    FrontBody,
    LabelBody,
    LinkBody,
    TimingsBody,
)

RequestId = Annotated[
    str | None,
    Header(
        pattern=REQUEST_ID_PATTERN,
        description="Names the frame and keys its noise; a request repeated under its id meets the same noise and is "
        "answered once. Random when left out.",
    ),
]
HEALTH_TIMEOUT_S = 1.0
HEALTH_CACHE_S = 1.0


class _Readiness:
    """Whether requests can be answered now. Engines and valid fronts are there since the start."""

    def __init__(self, client: LinkClient) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._ready = False
        self._until = -1.0

    async def check(self) -> bool:
        async with self._lock:
            if time.monotonic() >= self._until:
                self._ready = await self._client.is_healthy(HEALTH_TIMEOUT_S)
                self._until = time.monotonic() + HEALTH_CACHE_S
            return self._ready


def create_app(device: Device, services: Sequence[EdgeService]) -> FastAPI:
    """The REST application of an edge device.

    Args:
        device: what the services share.
        services: what answers, one per bundle, and no two of one task.
    """
    app = FastAPI(title="Thinwire edge", description="Classifies images over a thin, noisy link")
    # Not in closures: FastAPI's caches keep the endpoints, and would keep the service when the application is gone.
    app.state.device = device
    app.state.services = {service.bundle.task: service for service in services}
    bundles = [service.bundle for service in services]
    add_common(app, bundles, _Readiness(device.client).check, device.metrics.registry)

    @app.post(
        "/v1/classify",
        responses=problems.RESPONSES,
        openapi_extra=describe_classify(),
        dependencies=[Depends(_count_refusals, scope="function")],
    )
    async def classify(request: Request, x_request_id: RequestId = None) -> ClassifyResponse:
        # The service counts what reaches it.
        with _device(request).metrics.requests.counting_failure():
            service = _service(request, "classify")
            image, parameters = await parse_classify(request)
        return _response(await _while_connected(request, service.classify(image, parameters, x_request_id)))

    @app.get("/v1/policies", responses=problems.RESPONSES)
    async def policies(request: Request, bundle: str | None = None) -> dict[str, Any]:
        """The policies of all fronts of a bundle (by default the first of `/v1/models`), each with its figures."""
        fronts = _bundle_service(request, bundle).front_file.current
        return {
            "bundle": {"name": fronts.bundle_name, "digest": fronts.bundle_digest},
            "digest": fronts.digest,
            "policies": [measured.to_json() for measured in fronts.policies],
        }

    @app.get("/v1/policies/{policy_id}", responses=problems.RESPONSES)
    async def policy(request: Request, policy_id: str, bundle: str | None = None) -> dict[str, Any]:
        """What was measured of one policy, once for each front that holds it."""
        found = _bundle_service(request, bundle).front_file.current.get(policy_id)
        return {"id": policy_id, "measurements": [measured.to_json() for measured in found]}

    return app


def _device(request: Request) -> Device:
    device: Device = request.app.state.device
    return device


def _service(request: Request, task: str) -> EdgeService:
    services: dict[str, EdgeService] = request.app.state.services
    if task not in services:
        raise UnknownTaskError(f"no bundle on this device is for the task {task!r}; it has {', '.join(services)}")
    return services[task]


def _bundle_service(request: Request, name: str | None) -> EdgeService:
    services: dict[str, EdgeService] = request.app.state.services
    for service in services.values():
        if name in (None, service.bundle.name):
            return service
    known = ", ".join(service.bundle.name for service in services.values())
    raise InvalidRequestError(f"no bundle {str(name)[:80]!r} on this device; it has {known}")


async def _count_refusals(request: Request) -> AsyncGenerator[None]:
    """Count what FastAPI refuses before the endpoint runs."""
    try:
        yield
    except RequestValidationError:
        _device(request).metrics.requests.count(InvalidRequestError.code)
        raise


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
    front = answer.front
    return ClassifyResponse(
        id=answer.frame_id,
        outputs=[LabelBody(label=label, score=score) for label, score in answer.outputs],
        policy=ChosenPolicyBody(
            id=answer.policy_id,
            digest=answer.policy_digest,
            capped=answer.capped,
            front=None if front is None else FrontBody(model=front.model, snr_db=front.snr_db),
        ),
        link=LinkBody(
            tokens=answer.tokens,
            channel_uses=answer.uses.total,
            payload_uses=answer.uses.payload,
            pilot_uses=answer.uses.pilots,
            side_information_uses=answer.uses.side_information,
            cbr=answer.cbr,
            snr_db=answer.snr_db,
            airtime_ms=answer.airtime_ms,
            transmissions=answer.transmissions,
        ),
        cost=CostBody(edge_gmacs=answer.edge_gmacs),
        timings_ms=TimingsBody(
            edge=answer.edge_ms, channel=answer.channel_ms, cloud=answer.cloud_ms, total=answer.total_ms
        ),
    )
