"""What the routes that answer images share."""

from typing import Annotated, Any

from fastapi import Depends, Header, Request

from edge.answer import Answer
from edge.device import Device
from edge.repeats import MAX_KEY, frame_id_of
from edge.service import EdgeService
from thinwire.errors import InvalidRequestError, UnknownTaskError
from thinwire.rest.schemas import ChosenPolicyBody, CostBody, FrontBody, LinkBody, TimingsBody


def device_of(request: Request) -> Device:
    """What all bundles share."""
    device: Device = request.app.state.device
    return device


def services_of(request: Request) -> dict[str, EdgeService]:
    """What answers, by task."""
    services: dict[str, EdgeService] = request.app.state.services
    return services


def service_of(request: Request, task: str) -> EdgeService:
    """What answers a task.

    Raises:
        UnknownTaskError: no bundle is for it.
    """
    services = services_of(request)
    if task not in services:
        raise UnknownTaskError(f"no bundle on this device is for the task {task!r}; it has {', '.join(services)}")
    return services[task]


async def _frame_id(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY},
            description="Names the frame and keys its noise: 32 hexadecimal digits are its id, any other text is "
            "hashed to it. A request that comes again under its key within ten minutes sends the same frame again, "
            "which meets the same noise; each transmission counts. Another task, image, question or parameter under "
            "that key (timeout_ms aside) is refused (409). Random when left out.",
        ),
    ] = None,
) -> str | None:
    # It ends before the endpoint, which counts the rest.
    with device_of(request).metrics.requests.counting_failure():
        if len(request.headers.getlist("idempotency-key")) > 1:
            raise InvalidRequestError("idempotency-key: expected one, got several")
        return None if idempotency_key is None else frame_id_of(idempotency_key, device_of(request).link_id)


# The id of the frame that a request names; None leaves it to us.
FrameId = Annotated[str | None, Depends(_frame_id)]


def costs(answer: Answer) -> dict[str, Any]:
    """The parts of a response that all tasks have."""
    front = answer.front
    return {
        "id": answer.frame_id,
        "policy": ChosenPolicyBody(
            id=answer.policy_id,
            digest=answer.policy_digest,
            capped=answer.capped,
            front=None if front is None else FrontBody(model=front.model, snr_db=front.snr_db),
        ),
        "link": LinkBody(
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
        "cost": CostBody(edge_gmacs=answer.edge_gmacs),
        "timings_ms": TimingsBody(
            edge=answer.edge_ms, channel=answer.channel_ms, cloud=answer.cloud_ms, total=answer.total_ms
        ),
    }
