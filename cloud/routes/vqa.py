"""Questions: about an image, through the plain model; the same in the form of OpenAI's chat completions; and about a
frame that was received before.
"""

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from fastapi import FastAPI, Request

from cloud.answerer import Answer, Prefix
from cloud.questions import Questions, stream
from cloud.routes.common import Clock, answering, metrics_of, observe_image, refuse_link_parameters
from thinwire import tracing
from thinwire.errors import UnknownFrameError
from thinwire.images import decode_apart
from thinwire.rest import problems
from thinwire.rest.application import while_connected, within
from thinwire.rest.events import MEDIA_TYPE, EventStream, event, openai_event
from thinwire.rest.models import named
from thinwire.rest.openai import ChatBody, ChatRequest, from_chat, served_by
from thinwire.rest.openai_answers import Chunks, Ending, to_completion
from thinwire.rest.parsing import parse_only_json, parse_vqa
from thinwire.rest.routes import describe_json, describe_vqa
from thinwire.rest.schemas import AnswerBody, GenerationParameters, QuestionsBody, VqaResponse

log = logging.getLogger(__name__)
_EVENTS = {
    "description": "The answer; or, if asked for, server-sent events: its text in pieces, then the whole of it",
    "content": {MEDIA_TYPE: {"schema": {"type": "string"}}},
}
_CHAT: dict[int | str, dict[str, Any]] = {
    **problems.OPENAI_RESPONSES,
    200: {
        "description": "A chat.completion; or, if asked for, server-sent events with chat.completion.chunk",
        "content": {"application/json": {"schema": {"type": "object"}}, MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
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
            tasks = answering(request)
            body = await parse_only_json(request, QuestionsBody)
            clock.lap()
            # An idempotency key of the edge, which names the frame in either case.
            frame_id = frame_id.lower()
            task, prefix = _holding(tasks, frame_id)
        asked = body.inputs.question, body.parameters
        if body.stream:
            # It counts itself, when it ends.
            events = _events(request, task, frame_id, prefix, *asked, clock)
            return EventStream(await while_connected(request, anext(events)), events)
        with requests.counting():
            answer = await while_connected(request, ask(task, prefix, *asked, clock))
            return respond(task, frame_id, answer, clock)

    @app.post(
        "/v1/chat/completions",
        response_model=None,
        responses=_CHAT,
        openapi_extra=describe_json(ChatBody),
        include_in_schema=is_served,
    )
    async def chat(request: Request) -> dict[str, Any] | EventStream:
        """Answer a question about one image, given as a data: URL, with the plain model."""
        clock, requests = Clock.start(), metrics_of(request).requests
        with requests.counting_failure():
            answering(request)
            asked = from_chat(await parse_only_json(request, ChatBody))
            task: Questions = served_by(request.app.state.tasks, asked.model)
            refuse_link_parameters(asked.parameters)
            clock.lap()
        if asked.stream:
            # It counts itself, when it ends.
            events = _chunks(request, task, asked, clock)
            return EventStream(await while_connected(request, anext(events)), events, openai_event)
        with requests.counting():
            answer = await while_connected(request, _answer(task, asked, clock))
            response = respond(task, secrets.token_hex(16), answer, clock)
            observe_image(request, response.timings_ms)
            return to_completion(response, _ending(answer), task.bundle.name, int(time.time()))


async def _vqa(request: Request) -> VqaResponse:
    clock, tasks = Clock.start(), answering(request)
    data, question, parameters = await parse_vqa(request)
    task = named(tasks, parameters.model)
    refuse_link_parameters(parameters)
    clock.lap()
    deadline_s = clock.deadline(parameters.timeout_ms)

    async def run() -> Answer:
        prefix = await view(task, data, deadline_s)
        return await task.ask(prefix, question, parameters.generation, deadline_s=deadline_s)

    answer = await while_connected(request, within(run(), deadline_s, parameters.timeout_ms))
    response = respond(task, secrets.token_hex(16), answer, clock)
    observe_image(request, response.timings_ms)
    return response


def _holding(tasks: Sequence[Questions], frame_id: str) -> tuple[Questions, Prefix]:
    """What is kept of a frame, and the task of the bundle that it is of.

    Raises:
        UnknownFrameError: nothing is.
    """
    for task in tasks:
        if (prefix := task.find(frame_id)) is not None:
            return task, prefix
    raise UnknownFrameError(f"no tokens are held of a frame {frame_id[:80]!r}: it never came here, or has expired")


async def view(task: Questions, data: bytes, deadline_s: float) -> Prefix:
    """Read in an encoded image through the plain model, until the event loop's clock shows ``deadline_s``."""
    with tracing.span("decode"):
        pixels, _ = await decode_apart(data, task.bundle.preprocessing, deadline_s)
    return await task.view(pixels, deadline_s)


async def ask(task: Questions, prefix: Prefix, question: str, parameters: GenerationParameters, clock: Clock) -> Answer:
    """The answer to a question, within its request's time."""
    deadline_s = clock.deadline(parameters.timeout_ms)
    asking = task.ask(prefix, question, parameters.generation, deadline_s=deadline_s)
    return await within(asking, deadline_s, parameters.timeout_ms)


def respond(task: Questions, identity: str, answer: Answer, clock: Clock) -> VqaResponse:
    """The response with an answer, which is logged."""
    tracing.annotate(request_id=identity, bundle=task.bundle.name)
    timings = clock.timings()
    told = {"request_id": identity, "bundle": task.bundle.name, "tokens": answer.tokens}
    log.info("answer", extra={**told, "ms": round(timings.total, 3)})
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
                yield event(respond(task, identity, one, clock).model_dump())
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


async def _answer(task: Questions, asked: ChatRequest, clock: Clock) -> Answer:
    deadline, timeout_ms = clock.deadline(asked.parameters.timeout_ms), asked.parameters.timeout_ms
    prefix = await within(view(task, asked.image, deadline), deadline, timeout_ms)
    return await ask(task, prefix, asked.question, asked.parameters, clock)


async def _chunks(request: Request, task: Questions, asked: ChatRequest, clock: Clock) -> AsyncGenerator[str]:
    identity, deadline = secrets.token_hex(16), clock.deadline(asked.parameters.timeout_ms)
    chunks = Chunks(identity, task.bundle.name, int(time.time()), asked.include_usage)
    with metrics_of(request).requests.counting():
        prefix = await within(view(task, asked.image, deadline), deadline, asked.parameters.timeout_ms)
        has_started = False
        async for one in streamed(task, prefix, asked.question, asked.parameters, clock):
            # Not before: what fails until then has a status of its own.
            if not has_started:
                yield chunks.start()
                has_started = True
            if not isinstance(one, Answer):
                yield chunks.piece(one)
                continue
            response = respond(task, identity, one, clock)
            observe_image(request, response.timings_ms)
            yield chunks.end(_ending(one))


def _ending(answer: Answer) -> Ending:
    return Ending(answer.finish_reason, answer.prompt_tokens, answer.tokens)
