"""Questions about an image: ``POST /v1/vqa``, and the same in the form of OpenAI's chat completions."""

import time
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import FastAPI, Request

from edge.answer import Answer
from edge.routes.common import FrameId, costs, device_of, service_of
from thinwire.rest import problems
from thinwire.rest.application import while_connected
from thinwire.rest.events import MEDIA_TYPE, EventStream, openai_event
from thinwire.rest.openai import ChatBody, from_chat
from thinwire.rest.openai_answers import Chunks, Ending, to_completion
from thinwire.rest.parsing import parse_only_json, parse_vqa
from thinwire.rest.routes import describe_json, describe_vqa
from thinwire.rest.schemas import AnswerBody, VqaResponse

_CHAT: dict[int | str, dict[str, Any]] = {
    **problems.OPENAI_RESPONSES,
    200: {
        "description": "A chat.completion; or, if asked for, server-sent events with chat.completion.chunk",
        "content": {"application/json": {"schema": {"type": "object"}}, MEDIA_TYPE: {"schema": {"type": "string"}}},
    },
}


def add_to(app: FastAPI, is_served: bool) -> None:
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
            service = service_of(request, "vqa")
            image, question, parameters = await parse_vqa(request)
        return _response(await while_connected(request, service.ask(image, question, parameters, frame_id)))

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
            service = service_of(request, "vqa")
            asked = from_chat(await parse_only_json(request, ChatBody))
        answer = await while_connected(request, service.ask(asked.image, asked.question, asked.parameters, frame_id))
        ending, model = Ending(answer.finish_reason, answer.prompt_tokens, answer.answer_tokens), service.bundle.name
        if not asked.stream:
            return to_completion(_response(answer), ending, model, int(time.time()))
        events = _events(answer, ending, model, asked.include_usage)
        return EventStream(await anext(events), events, openai_event)


def _response(answer: Answer) -> VqaResponse:
    outputs = [AnswerBody(answer=text, score=score) for text, score in answer.outputs]
    return VqaResponse(outputs=outputs, **costs(answer))


async def _events(answer: Answer, ending: Ending, model: str, include_usage: bool) -> AsyncGenerator[str]:
    chunks = Chunks(answer.frame_id, model, int(time.time()), include_usage)
    yield chunks.start()
    yield chunks.piece(answer.outputs[0][0])
    yield chunks.end(ending)
