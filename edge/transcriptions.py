"""``POST /v1/audio/transcriptions`` at the edge: what does this clip say? In OpenAI's form."""

import asyncio
import secrets
from collections.abc import AsyncGenerator

from fastapi import FastAPI, Request, Response

from edge.clips import Clip, Heard, read, transcribe
from edge.explanation import explain
from edge.routes import FrameId, costs, device_of, services_of
from edge.service import EdgeService
from thinwire import audio
from thinwire.audio.transcript import delta_event, done_event
from thinwire.errors import InvalidRequestError
from thinwire.rest.application import while_connected, within
from thinwire.rest.events import EventStream, event, openai_event
from thinwire.rest.models import of_task
from thinwire.rest.parsing import parse_transcription
from thinwire.rest.routes import TRANSCRIPTION_RESPONSES, describe_transcription
from thinwire.rest.transcription_answers import WindowBody, accounts
from thinwire.rest.transcriptions import respond, writing


def add_transcriptions(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post(
        "/v1/audio/transcriptions",
        response_model=None,
        responses=TRANSCRIPTION_RESPONSES,
        openapi_extra=describe_transcription(has_held=False),
        include_in_schema=is_served,
    )
    async def transcriptions(request: Request, frame_id: FrameId) -> Response:
        """Write down a clip, which crosses the link in windows of what the model hears at once.

        The budget is that of each window. The link carries whole answers: a stream tells the text of each window in one
        piece. Of a clip that came before the cloud holds the tokens, and writes them down again.
        """
        began_s, requests = _now(), device_of(request).metrics.requests
        with requests.counting_failure():
            of_task(services_of(request), "transcription")
            data, asked = await parse_transcription(request)
            service = writing(services_of(request), asked.model)
            if data is None:
                raise InvalidRequestError(
                    "id: the cloud holds the tokens of what came before; ask it at /v1/audio/transcriptions", "id"
                )
            # The upload is no part of it, as of an image.
            deadline_s, timeout_ms = _now() + asked.timeout_ms / 1e3, asked.timeout_ms
            name = frame_id or secrets.token_hex(16)
            reading = read(service, data, asked, name, frame_id is not None, deadline_s)
            clip = await while_connected(request, within(reading, deadline_s, timeout_ms))
        if asked.stream:
            # It counts itself, when it ends.
            events = _events(service, clip, deadline_s)
            return EventStream(await while_connected(request, anext(events)), events, openai_event)
        with requests.counting():
            parts = await while_connected(request, _all(service, clip, deadline_s))
            told = None
            if asked.response_format == "verbose_json":
                told = accounts(name, [_window(service, clip, part) for part in parts], 1e3 * (_now() - began_s))
            return respond(_joined(clip, parts), asked, told)


async def _all(service: EdgeService, clip: Clip, deadline_s: float) -> list[Heard]:
    return [part async for part in transcribe(service, clip, deadline_s)]


async def _events(service: EdgeService, clip: Clip, deadline_s: float) -> AsyncGenerator[str]:
    parts: list[Heard] = []
    text = ""
    with service.device.metrics.requests.counting():
        windows = transcribe(service, clip, deadline_s)
        try:
            async for part in windows:
                parts.append(part)
                whole = _joined(clip, parts).text
                if len(whole) > len(text):
                    yield event(delta_event(whole[len(text) :]))
                    text = whole
        finally:
            await windows.aclose()
        yield event(done_event(text))


def _joined(clip: Clip, parts: list[Heard]) -> audio.Transcript:
    return audio.joined([(part.start_s, part.transcript) for part in parts], clip.duration_s)


def _window(service: EdgeService, clip: Clip, part: Heard) -> WindowBody:
    explanation = explain(service.bundle, part.answer) if clip.asked.explain else None
    return WindowBody(start=part.start_s, end=part.end_s, **costs(part.answer, explanation))


def _now() -> float:
    return asyncio.get_running_loop().time()
