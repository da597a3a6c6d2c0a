"""The path of a clip through the device: decoded, cut in windows, each of which crosses the link as a frame."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import dataclass

from edge.answer import Answer
from edge.in_order import in_order
from edge.repeats import Known, content_of
from edge.sender import Input
from edge.service import EdgeService
from thinwire import tracing
from thinwire.audio import SAMPLE_RATE, SAMPLES_PER_POSITION, Window, decode_apart, log_mel, windows
from thinwire.errors import UnavailableError
from thinwire.frames import frame_id
from thinwire.rest.transcriptions import TranscriptionBody
from thinwire.v1 import link_pb2

# Windows of one clip that are under way behind the one that is answered next: one is encoded while another is written
# down, and a long clip leaves the engine to others in between.
UNDER_WAY = 1


@dataclass(frozen=True)
class Clip:
    """A clip and how it is to be written down.

    Attributes:
        request_id: of its frames, which are numbered from 0 by their window.
        content: what tells a repeat of it from another clip; None where the id was not chosen by a client.
        windows: of it, each what the model hears at once, the last one shorter.
        asked: how it crosses the link and is written down.
    """

    request_id: str
    content: bytes | None
    windows: list[Window]
    asked: TranscriptionBody

    @property
    def duration_s(self) -> float:
        """Of all of it."""
        return sum(len(window.audio) for window in self.windows) / SAMPLE_RATE


@dataclass(frozen=True)
class Heard:
    """What came of one window.

    Attributes:
        start_s: where it starts in the clip, in seconds.
        end_s: where it ends.
        answer: of its frame.
    """

    start_s: float
    end_s: float
    answer: Answer

    @property
    def transcript(self) -> link_pb2.Transcript:
        """What it says."""
        return self.answer.transcript or link_pb2.Transcript()


async def read(
    service: EdgeService, data: bytes, asked: TranscriptionBody, request_id: str, is_chosen: bool, deadline_s: float
) -> Clip:
    """Decode a sound file, and cut it in windows.

    Args:
        service: of the bundle that answers.
        data: the file as it came.
        asked: how to answer.
        request_id: 32 hexadecimal digits that name the frames and key their noise.
        is_chosen: whether a client chose them: what comes again under them sends the same frames again.
        deadline_s: by the event loop's clock.

    Raises:
        OverloadedError: too much waits already, here or for the engine.
        UnavailableError: what decodes sound is not installed.
        ThinwireError: as for `thinwire.audio.decode_apart`.
    """
    # Before it is decoded, which may take longer than the engine does.
    service.device.engines.check(deadline_s)
    try:
        with service.device.metrics.decoding(), tracing.span("decode"):
            samples = await decode_apart(data, deadline_s)
    except ModuleNotFoundError as error:
        raise UnavailableError(str(error)) from None
    content = content_of(service.bundle.digest, data, "", asked) if is_chosen else None
    return Clip(request_id, content, windows(samples, service.bundle.patches * SAMPLES_PER_POSITION), asked)


async def transcribe(service: EdgeService, clip: Clip, deadline_s: float) -> AsyncGenerator[Heard]:
    """Send the windows of a clip, and have each written down.

    The last one is silence from its end up to what the model hears at once, as the model knows it.

    Yields:
        what came of each, in order.

    Raises:
        IdTakenError: another request came under this id.
        ThinwireError: as for `Sender.answer`; the first one ends it.
    """

    async def each() -> AsyncIterator[Window]:
        for window in clip.windows:
            yield window

    async def answer(window: Window, number: int) -> Heard:
        seconds = len(window.audio) / SAMPLE_RATE
        asked = link_pb2.Frame(
            request_id=clip.request_id,
            sequence_number=number,
            transcription=clip.asked.options.to_message(seconds),
        )

        async def given(_: float) -> Input:
            return Input(lambda: log_mel(window.audio, service.mel_bins, service.bundle.patches))

        with ExitStack() as stack:
            bundle = service.bundle.name
            stack.enter_context(
                tracing.span("window", request_id=clip.request_id, sequence_number=number, bundle=bundle)
            )
            known = Known()
            if clip.content is not None:
                name = frame_id(clip.request_id, number)
                known = stack.enter_context(service.device.repeats.known(name, clip.content))
            found = await service.answer(given, clip.asked, asked, service.device.client.infer, known, deadline_s)
        return Heard(window.start_s, window.start_s + seconds, found)

    async with aclosing(in_order(each(), answer, UNDER_WAY)) as parts:
        async for heard in parts:
            yield heard
