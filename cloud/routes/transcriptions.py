"""``POST /v1/audio/transcriptions``: the plain model on audio, or what is kept of a clip that came over the link."""

import logging
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request, Response

from cloud.questions import stream
from cloud.routes.common import Clock, metrics_of, observe_image, refuse_link_parameters
from cloud.transcriber import Heard, Transcript
from cloud.transcriptions import Transcriptions
from thinwire import audio, tracing
from thinwire.audio.transcript import delta_event, done_event
from thinwire.errors import UnavailableError, UnknownFrameError
from thinwire.frames import frame_id
from thinwire.rest.application import while_connected, within
from thinwire.rest.events import EventStream, event, openai_event
from thinwire.rest.models import of_task
from thinwire.rest.parsing import parse_transcription
from thinwire.rest.routes import TRANSCRIPTION_RESPONSES, describe_transcription
from thinwire.rest.transcription_answers import without_link
from thinwire.rest.transcriptions import TranscriptionBody, respond, writing
from thinwire.v1 import link_pb2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Clip:
    """What is to be written down.

    Attributes:
        task: of the bundle that does.
        identity: of a frame, or of this request.
        duration_s: of all of it.
        parts: where each window starts, in seconds, and what hears it.
        is_plain: whether the plain model hears it.
    """

    task: Transcriptions
    identity: str
    duration_s: float
    parts: Sequence[tuple[float, Callable[[], Coroutine[Any, Any, Heard]]]]
    is_plain: bool


def add_to(app: FastAPI, is_served: bool) -> None:
    """Add the route; one that no bundle serves is left out of the OpenAPI document."""

    @app.post(
        "/v1/audio/transcriptions",
        response_model=None,
        responses=TRANSCRIPTION_RESPONSES,
        openapi_extra=describe_transcription(),
        include_in_schema=is_served,
    )
    async def transcriptions(request: Request) -> Response:
        """Write down a clip with the plain model, or one that came over the link. What concerns the link is refused."""
        clock, requests = Clock.start(), metrics_of(request).requests
        with requests.counting_failure():
            # Before a body is read that nothing here can answer.
            tasks: list[Transcriptions] = of_task(request.app.state.tasks, "transcription")
            data, asked = await parse_transcription(request)
            task: Transcriptions = writing(request.app.state.tasks, asked.model)
            refuse_link_parameters(asked)
            clock.lap()
            deadline_s = clock.deadline(asked.timeout_ms)
            if data is None:
                clip = _held([task] if asked.model == task.bundle.name else tasks, asked.id or "")
            else:
                cutting = within(_cut(task, data, deadline_s), deadline_s, asked.timeout_ms)
                clip = await while_connected(request, cutting)
        if asked.stream:
            # It counts itself, when it ends.
            events = _events(request, clip, asked, clock)
            return EventStream(await while_connected(request, anext(events)), events, openai_event)
        with requests.counting():
            work = within(_written(clip, asked, deadline_s), deadline_s, asked.timeout_ms)
            transcript = await while_connected(request, work)
            _tell(request, clip, clock)
            return respond(transcript, asked, without_link(clip.identity, clock.timings()))


def _held(tasks: Sequence[Transcriptions], name: str) -> _Clip:
    # An idempotency key of the edge, which names the frame in either case.
    identity = name.lower()
    for task in tasks:
        if kept := _windows(task, identity):
            window_s = task.window_samples / audio.SAMPLE_RATE
            parts = [(number * window_s, partial(_kept, heard)) for number, heard in enumerate(kept)]
            return _Clip(task, identity, parts[-1][0] + (kept[-1].seconds or window_s), parts, False)
    raise UnknownFrameError(f"no tokens are held of a frame {identity[:80]!r}: it never came here, or has expired")


def _windows(task: Transcriptions, identity: str) -> list[Heard]:
    """What is held of a request's frames, which its windows are in order: of all up to the first that is missing.

    A single frame has its own number in its name, if it is not the first.
    """
    window_s = task.window_samples / audio.SAMPLE_RATE
    kept: list[Heard] = []
    while (heard := task.find(frame_id(identity, len(kept)))) is not None:
        kept.append(heard)
        # A shorter one is the last of its clip.
        if "-" in identity or (heard.seconds or window_s) < window_s:
            break
    return kept


async def _kept(heard: Heard) -> Heard:
    return heard


async def _cut(task: Transcriptions, data: bytes, deadline_s: float) -> _Clip:
    try:
        with tracing.span("decode"):
            samples = await audio.decode_apart(data, deadline_s)
    except ModuleNotFoundError as error:
        raise UnavailableError(str(error)) from None
    windows = audio.windows(samples, task.window_samples)
    parts = [(window.start_s, partial(task.hear, window.audio, deadline_s)) for window in windows]
    return _Clip(task, secrets.token_hex(16), len(samples) / audio.SAMPLE_RATE, parts, True)


async def _written(clip: _Clip, asked: TranscriptionBody, deadline_s: float) -> audio.Transcript:
    heard: list[tuple[float, link_pb2.Transcript]] = []
    # One after the other, so that a long clip takes turns with those of others.
    for start_s, hear in clip.parts:
        transcript = await clip.task.write(await hear(), asked.options, deadline_s=deadline_s)
        heard.append((start_s, transcript.to_message()))
    return audio.joined(heard, clip.duration_s)


async def _events(request: Request, clip: _Clip, asked: TranscriptionBody, clock: Clock) -> AsyncGenerator[str]:
    deadline_s = clock.deadline(asked.timeout_ms)
    text, joint = "", ""
    with metrics_of(request).requests.counting():
        for _, hear in clip.parts:
            heard = await within(hear(), deadline_s, asked.timeout_ms)
            told = 0

            def write(tell: Callable[[str], None], heard: Heard = heard) -> Coroutine[Any, Any, Transcript]:
                work = clip.task.write(heard, asked.options, tell, deadline_s)
                return within(work, deadline_s, asked.timeout_ms)

            pieces = stream(write)
            try:
                async for one in pieces:
                    # What might have been silence was held back.
                    piece = one.text[told:] if isinstance(one, Transcript) else one
                    if piece:
                        between, told = "" if told else joint, told + len(piece)
                        text += between + piece
                        yield event(delta_event(between + piece))
                    if isinstance(one, Transcript) and one.segments:
                        # Not every language has spaces between words.
                        joint = " " if one.segments[0].text[:1].isspace() else ""
            finally:
                await pieces.aclose()
        _tell(request, clip, clock)
        yield event(done_event(text))


def _tell(request: Request, clip: _Clip, clock: Clock) -> None:
    bundle, timings = clip.task.bundle.name, clock.timings()
    tracing.annotate(request_id=clip.identity, bundle=bundle)
    if clip.is_plain:
        observe_image(request, timings)
    told = {"request_id": clip.identity, "bundle": bundle, "seconds": round(clip.duration_s, 3)}
    log.info("transcript", extra={**told, "ms": round(timings.total, 3)})
