"""What the cloud's speech model does, whatever it runs on, and what it works with; see `cloud.answerer`."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from thinwire.equalise import ReceivedTokens
from thinwire.errors import ThinwireError
from thinwire.transcription import TranscriptionOptions
from thinwire.v1 import link_pb2


@dataclass(frozen=True)
class Segment:
    """A part of a transcript.

    Attributes:
        start: seconds from the beginning of the clip.
        end: likewise.
        text: with the white space around it that joins it to others.
        tokens: of the text and of its timestamps.
    """

    start: float
    end: float
    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Transcript:
    """A transcript.

    Attributes:
        text: without white space around it; empty for silence.
        language: its name in English, lower case.
        segments: none for silence; one of the whole clip where no timestamps were asked for.
        temperature: at which it was decoded, the last one that was tried.
        avg_logprob: mean log-probability of its tokens, the end included; under the model for beam search, else under
            what is left of it by suppression and the rules of timestamps, as OpenAI has it.
        compression_ratio: bytes of the text over those that zlib makes of it.
        no_speech_prob: probability that nobody speaks.
        prompt_tokens: received tokens, and those of the text that the decoder began with.
        tokens: that were written, the end included.
        finish_reason: "stop" if it ended by itself, "length" if it was cut.
    """

    text: str
    language: str
    segments: tuple[Segment, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    prompt_tokens: int
    tokens: int
    finish_reason: Literal["stop", "length"]

    def to_message(self) -> link_pb2.Transcript:
        """As a result carries it."""
        return link_pb2.Transcript(
            segments=[
                link_pb2.Segment(start=one.start, end=one.end, text=one.text, tokens=one.tokens)
                for one in self.segments
            ],
            language=self.language,
            temperature=self.temperature,
            avg_logprob=self.avg_logprob,
            compression_ratio=self.compression_ratio,
            no_speech_prob=self.no_speech_prob,
        )


@dataclass(frozen=True, eq=False)
class Heard:
    """What is kept of one clip, to write it down as often as anybody asks.

    Attributes:
        tokens: ``N x D`` float32, as the encoder's behind its final norm.
        sizes: ``N`` float32, positions of the encoder that each stands for; None: 1 each.
        seconds: how much of it is not padding; None: all of it.
    """

    tokens: NDArray[np.float32]
    sizes: NDArray[np.float32] | None = None
    seconds: float | None = None

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.tokens.nbytes + (0 if self.sizes is None else self.sizes.nbytes)


@dataclass
class Utterance:
    """One clip to be written down.

    Attributes:
        heard: what is kept of it.
        options: how to decode it.
        given_up: set when nobody waits for the transcript any more.
        on_text: see `cloud.speech.model.Clip`. One that is written again alone, because another of its batch failed,
            is told the same again.
    """

    heard: Heard
    options: TranscriptionOptions = field(default_factory=TranscriptionOptions)
    given_up: threading.Event = field(default_factory=threading.Event)
    on_text: Callable[[str], None] = lambda text: None


class Transcriber(Protocol):
    """Writes down frames and, for comparison, plain audio.

    Where a list holds an error, it concerns that item alone.
    """

    def hear_frames(self, frames: Sequence[ReceivedTokens]) -> Sequence[Heard | ThinwireError]:
        """Decode frames of any token counts and rates together; how long the clips are is left open."""
        ...

    def hear_audio(self, clips: Sequence[NDArray[np.float32]]) -> Sequence[Heard | ThinwireError]:
        """Run the plain model's own encoder on clips: mono, 16 kHz, up to what the model hears at once."""
        ...

    def transcribe(self, utterances: Sequence[Utterance]) -> Sequence[Transcript | ThinwireError]:
        """Write down any frames and clips together; each gets what it would get alone."""
        ...
