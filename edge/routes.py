"""What REST at the edge serves, by task.

``POST /v1/classify``: what is in this image? ``POST /v1/vqa``: a question about an image, and the same in the form of
OpenAI's chat completions.
"""

import time
from collections.abc import AsyncGenerator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Request

from edge.answer import Answer
from edge.device import Device
from edge.explanation import explain
from edge.repeats import MAX_KEY, frame_id_of
from edge.service import EdgeService
from thinwire.access import caller
from thinwire.errors import InvalidRequestError
from thinwire.rest import problems
from thinwire.rest.application import while_connected
from thinwire.rest.events import MEDIA_TYPE, EventStream, openai_event
from thinwire.rest.explanation import ExplainBody
from thinwire.rest.models import named, of_task
from thinwire.rest.openai import ChatBody, from_chat, served_by
from thinwire.rest.openai_answers import Chunks, Ending, to_completion
from thinwire.rest.parsing import parse_classify, parse_only_json, parse_vqa
from thinwire.rest.routes import describe_classify, describe_json, describe_vqa
from thinwire.rest.schemas import (
    AnswerBody,
    ChosenPolicyBody,
    ClassifyResponse,
    CostBody,
    FrontBody,
    LabelBody,
    LinkBody,
    TimingsBody,
    VqaResponse,
)

_CHAT: dict[int | str, dict[str, Any]] = {
    **problems.OPENAI_RESPONSES,
    200: {
        "description": "A chat.completion; or, if asked for, server-sent events with chat.completion.chunk",
        "content": {"application/json": {"schema": {"type": "object"}}, MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
}


def device_of(request: Request) -> Device:
    """What all bundles share."""
    device: Device = request.app.state.device
    return device


def services_of(request: Request) -> tuple[EdgeService, ...]:
    """What answers, one per bundle."""
    services: tuple[EdgeService, ...] = request.app.state.services
    return services


async def _frame_id(
    request: Request,
    idempotency_key: Annotated[
        str | None,
        Header(
            json_schema_extra={"minLength": 1, "maxLength": MAX_KEY},
            description="Names the frame and keys its noise: 32 hexadecimal digits are its id, any other text is "
            "hashed to it. A request that comes again under its key within ten minutes sends the same frame again, "
            "which meets the same noise; each transmission counts. Another task, model, image, clip, question or "
            "parameter under that key (timeout_ms and explain aside) is refused (409). Random when left out.",
        ),
    ] = None,
) -> str | None:
    # It ends before the endpoint, which counts the rest.
    with device_of(request).metrics.requests.counting_failure():
        if len(request.headers.getlist("idempotency-key")) > 1:
            raise InvalidRequestError("idempotency-key: expected one, got several")
        return (
            None if idempotency_key is None else frame_id_of(idempotency_key, device_of(request).link_id, caller().name)
        )


# The id of the frame that a request names; None leaves it to us.
FrameId = Annotated[str | None, Depends(_frame_id)]


def costs(answer: Answer, explanation: ExplainBody | None) -> dict[str, Any]:
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
        "explain": explanation,
    }


def add_classify(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post(
        "/v1/classify",
        responses=problems.RESPONSES,
        openapi_extra=describe_classify(),
        include_in_schema=is_served,
    )
    async def classify(request: Request, frame_id: FrameId) -> ClassifyResponse:
        """Classify one image over the link."""
        # The service counts what reaches it.
        with device_of(request).metrics.requests.counting_failure():
            services = of_task(services_of(request), "classify")
            image, parameters = await parse_classify(request)
            service = named(services, parameters.model)
        answer = await while_connected(request, service.classify(image, parameters, frame_id))
        outputs = [LabelBody(label=label, score=score) for label, score in answer.outputs]
        explanation = explain(service.bundle, answer) if parameters.explain else None
        return ClassifyResponse(outputs=outputs, **costs(answer, explanation))


def add_vqa(app: FastAPI, is_served: bool) -> None:
    """Add the routes; those that no bundle serves are left out of the OpenAPI document."""

    @app.post(
        "/v1/vqa",
        responses=problems.RESPONSES,
        openapi_extra=describe_vqa(),
        include_in_schema=is_served,
    )
    async def vqa(request: Request, frame_id: FrameId) -> VqaResponse:
        """Answer a question about one image over the link. Its id names the tokens that the cloud keeps of it."""
        # The service counts what reaches it.
        with device_of(request).metrics.requests.counting_failure():
            services = of_task(services_of(request), "vqa")
            image, question, parameters = await parse_vqa(request)
            service = named(services, parameters.model)
        answer = await while_connected(request, service.ask(image, question, parameters, frame_id))
        return _response(answer, explain(service.bundle, answer) if parameters.explain else None)

    @app.post(
        "/v1/chat/completions",
        response_model=None,
        responses=_CHAT,
        openapi_extra=describe_json(ChatBody),
        include_in_schema=is_served,
    )
    async def chat(request: Request, frame_id: FrameId) -> dict[str, Any] | EventStream:
        """Answer a question about one image, given as a data: URL, over the link.

        The link carries whole answers: one that is asked for as a stream comes in one piece.
        """
        with device_of(request).metrics.requests.counting_failure():
            of_task(services_of(request), "vqa")
            asked = from_chat(await parse_only_json(request, ChatBody))
            service = served_by(services_of(request), asked.model)
        answer = await while_connected(request, service.ask(asked.image, asked.question, asked.parameters, frame_id))
        ending, model = Ending(answer.finish_reason, answer.prompt_tokens, answer.answer_tokens), service.bundle.name
        if not asked.stream:
            return to_completion(_response(answer), ending, model, int(time.time()))
        events = _events(answer, ending, model, asked.include_usage)
        return EventStream(await anext(events), events, openai_event)


def _response(answer: Answer, explanation: ExplainBody | None = None) -> VqaResponse:
    outputs = [AnswerBody(answer=text, score=score) for text, score in answer.outputs]
    return VqaResponse(outputs=outputs, **costs(answer, explanation))


async def _events(answer: Answer, ending: Ending, model: str, include_usage: bool) -> AsyncGenerator[str]:
    chunks = Chunks(answer.frame_id, model, int(time.time()), include_usage)
    yield chunks.start()
    yield chunks.piece(answer.outputs[0][0])
    yield chunks.end(ending)
