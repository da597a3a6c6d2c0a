"""``POST /v1/chat/completions``: a question about an image in the form of OpenAI's chat completions."""

import secrets
import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request

from cloud.answerer import Answer
from cloud.questions import Questions
from cloud.routes.common import Clock, metrics_of, observe_image, refuse_link_parameters, task_of
from cloud.routes.vqa import ask, respond, streamed, view
from thinwire.rest import problems
from thinwire.rest.application import while_connected, within
from thinwire.rest.events import MEDIA_TYPE, EventStream, openai_event
from thinwire.rest.openai import ChatBody, ChatRequest, from_chat
from thinwire.rest.openai_answers import Chunks, Ending, to_completion
from thinwire.rest.parsing import parse_only_json
from thinwire.rest.routes import describe_json

_RESPONSES: dict[int | str, dict[str, Any]] = {
    **problems.OPENAI_RESPONSES,
    200: {
        "description": "A chat.completion; or, if asked for, server-sent events with chat.completion.chunk",
        "content": {"application/json": {"schema": {"type": "object"}}, MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
}


def add_to(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post(
        "/v1/chat/completions",
        response_model=None,
        responses=_RESPONSES,
        openapi_extra=describe_json(ChatBody),
        include_in_schema=is_served,
    )
    async def chat(request: Request) -> dict[str, Any] | EventStream:
        """Answer a question about one image, given as a data: URL, with the plain model."""
        clock, requests = Clock.start(), metrics_of(request).requests
        with requests.counting_failure():
            task = task_of(request, Questions)
            asked = from_chat(await parse_only_json(request, ChatBody))
            refuse_link_parameters(asked.parameters)
            clock.lap()
        if asked.stream:
            # It counts itself, when it ends.
            events = _events(request, task, asked, clock)
            return EventStream(await while_connected(request, anext(events)), events, openai_event)
        with requests.counting():
            answer = await while_connected(request, _answer(task, asked, clock))
            response = respond(secrets.token_hex(16), answer, clock)
            observe_image(request, response.timings_ms)
            return to_completion(response, _ending(answer), task.bundle.name, int(time.time()))


async def _answer(task: Questions, asked: ChatRequest, clock: Clock) -> Answer:
    deadline, timeout_ms = clock.deadline(asked.parameters.timeout_ms), asked.parameters.timeout_ms
    prefix = await within(view(task, asked.image, deadline), deadline, timeout_ms)
    return await ask(task, prefix, asked.question, asked.parameters, clock)


async def _events(request: Request, task: Questions, asked: ChatRequest, clock: Clock) -> AsyncGenerator[str]:
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
            response = respond(identity, one, clock)
            observe_image(request, response.timings_ms)
            yield chunks.end(_ending(one))


def _ending(answer: Answer) -> Ending:
    return Ending(answer.finish_reason, answer.prompt_tokens, answer.tokens)
