"""Questions: about an image, through the plain model; and about a frame that was received before."""

import logging
import secrets
from collections.abc import AsyncGenerator

from fastapi import FastAPI, Request

from cloud.answerer import Answer, Prefix
from cloud.questions import Questions, stream
from cloud.routes.common import Clock, metrics_of, observe_image, refuse_link_parameters, task_of
from thinwire import tracing
from thinwire.images import decode_apart
from thinwire.rest.application import while_connected, within
from thinwire.rest.events import MEDIA_TYPE, EventStream, event
from thinwire.rest.parsing import parse_only_json, parse_vqa
from thinwire.rest.routes import describe_json, describe_vqa
from thinwire.rest.schemas import AnswerBody, GenerationParameters, QuestionsBody, VqaResponse

log = logging.getLogger(__name__)
_EVENTS = {
    "description": "The answer; or, if asked for, server-sent events: its text in pieces, then the whole of it",
    "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
}


def add_to(app: FastAPI, is_served: bool) -> None:
    """Add the routes; those that no bundle serves are left out of the OpenAPI document."""

    @app.post("/v1/vqa", openapi_extra=describe_vqa(), include_in_schema=is_served)
    async def vqa(request: Request) -> VqaResponse:
        """Answer a question about one image with the plain model. What concerns the link is refused here."""
        with metrics_of(request).requests.counting():
            return await _vqa(request)

    @app.post(
        "/v1/frames/{frame_id}/questions",
        response_model=VqaResponse,
        responses={200: _EVENTS},
        openapi_extra=describe_json(QuestionsBody),
        include_in_schema=is_served,
    )
    async def questions(request: Request, frame_id: str) -> VqaResponse | EventStream:
        """Answer a question about a frame that came over the link, from what is kept of it."""
        clock, requests = Clock.start(), metrics_of(request).requests
        with requests.counting_failure():
            task = task_of(request, Questions)
            body = await parse_only_json(request, QuestionsBody)
            clock.lap()
            # An idempotency key of the edge, which names the frame in either case.
            frame_id = frame_id.lower()
            prefix = task.find(frame_id)
        asked = body.inputs.question, body.parameters
        if body.stream:
            # It counts itself, when it ends.
            events = _events(request, task, frame_id, prefix, *asked, clock)
            return EventStream(await while_connected(request, anext(events)), events)
        with requests.counting():
            answer = await while_connected(request, ask(task, prefix, *asked, clock))
            return respond(frame_id, answer, clock)


async def _vqa(request: Request) -> VqaResponse:
    clock, task = Clock.start(), task_of(request, Questions)
    data, question, parameters = await parse_vqa(request)
    refuse_link_parameters(parameters)
    clock.lap()
    deadline_s = clock.deadline(parameters.timeout_ms)

    async def run() -> Answer:
        prefix = await view(task, data, deadline_s)
        return await task.ask(prefix, question, parameters.generation, deadline_s=deadline_s)

    answer = await while_connected(request, within(run(), deadline_s, parameters.timeout_ms))
    response = respond(secrets.token_hex(16), answer, clock)
    observe_image(request, response.timings_ms)
    return response


async def view(task: Questions, data: bytes, deadline_s: float) -> Prefix:
    """Read in an encoded image through the plain model, until the event loop's clock shows ``deadline_s``."""
    with tracing.span("decode"):
        pixels = await decode_apart(data, task.bundle.preprocessing, deadline_s)
    return await task.view(pixels, deadline_s)


async def ask(task: Questions, prefix: Prefix, question: str, parameters: GenerationParameters, clock: Clock) -> Answer:
    """The answer to a question, within its request's time."""
    deadline_s = clock.deadline(parameters.timeout_ms)
    asking = task.ask(prefix, question, parameters.generation, deadline_s=deadline_s)
    return await within(asking, deadline_s, parameters.timeout_ms)


def respond(identity: str, answer: Answer, clock: Clock) -> VqaResponse:
    """The response with an answer, which is logged."""
    tracing.annotate(request_id=identity)
    timings = clock.timings()
    log.info("answer", extra={"request_id": identity, "tokens": answer.tokens, "ms": round(timings.total, 3)})
    outputs = [AnswerBody(answer=answer.text, score=answer.score)]
    return VqaResponse(id=identity, outputs=outputs, policy=None, link=None, cost=None, timings_ms=timings)


async def _events(
    request: Request,
    task: Questions,
    identity: str,
    prefix: Prefix,
    question: str,
    parameters: GenerationParameters,
    clock: Clock,
) -> AsyncGenerator[str]:
    with metrics_of(request).requests.counting():
        async for one in streamed(task, prefix, question, parameters, clock):
            if isinstance(one, Answer):
                yield event(respond(identity, one, clock).model_dump())
            else:
                yield event({"text": one})


async def streamed(
    task: Questions, prefix: Prefix, question: str, parameters: GenerationParameters, clock: Clock
) -> AsyncGenerator[str | Answer]:
    """`cloud.questions.stream`, within the request's time."""
    deadline_s, generation = clock.deadline(parameters.timeout_ms), parameters.generation
    pieces = stream(
        lambda tell: within(task.ask(prefix, question, generation, tell, deadline_s), deadline_s, parameters.timeout_ms)
    )
    try:
        async for one in pieces:
            yield one
    finally:
        await pieces.aclose()
