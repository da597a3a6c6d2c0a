"""How a clip of speech is to be written down, as REST and the link both say it."""

import math
from typing import Annotated, Any, Literal

from pydantic import Field

from thinwire.errors import InvalidRequestError
from thinwire.records import Count, NotNegative, Positive, Real, Whole, record
from thinwire.v1 import link_pb2

MAX_PROMPT_CHARACTERS = 2_000
MAX_LANGUAGE_CHARACTERS = 64
MAX_BEAMS = 16
# A decoder that repeats itself writes until it is stopped: 200 tokens into a clip of three seconds. English has 3 to 6
# tokens a second, digits one by one with their commas up to 6; each segment has two timestamps beside them.
TOKENS_PER_SECOND = 10
FEWEST_NEW_TOKENS = 16
MAX_NEW_TOKENS = 224
# What a message has for a threshold of None.
_NO_LIMIT = {
    "compression_ratio_threshold": math.inf,
    "logprob_threshold": -math.inf,
    "no_speech_threshold": math.inf,
}

_Temperatures = Annotated[tuple[Annotated[NotNegative, Field(le=2)], ...], Field(min_length=1, max_length=16)]


@record()
class TranscriptionOptions:
    """How to decode one clip. The defaults are those of OpenAI's reference (``whisper.transcribe``).

    Attributes:
        language: code or English name of what is spoken ("de", "german"); None finds out, or is English for a model
            that knows no other.
        task: "transcribe", or "translate" into English.
        prompt: text that is taken for what was said before; of a long one, the end.
        timestamps: whether the model says when each segment was spoken.
        temperatures: tried one after the other until a transcript is good enough, the last in any case; 0 takes the
            likeliest token each time, above it tokens are drawn.
        beams: for beam search, at temperature 0; 1 is greedy.
        seed: of what is drawn; None is a random one.
        max_new_tokens: most tokens, timestamps and the end included; None: so many as may be said in the clip's time,
            see `TOKENS_PER_SECOND`, and 224 at most.
        compression_ratio_threshold: a text that zlib makes smaller than this repeats itself, and is not good enough;
            None: any is.
        logprob_threshold: a mean log-probability under this is not good enough; None: any is.
        no_speech_threshold: above this probability that nobody speaks, a transcript under `logprob_threshold` is
            silence, and stays so; None: none is.

    Raises:
        InvalidRequestError: one is out of range.
    """

    language: Annotated[str, Field(max_length=MAX_LANGUAGE_CHARACTERS)] | None = None
    task: Literal["transcribe", "translate"] = "transcribe"
    prompt: str = ""
    timestamps: bool = False
    temperatures: _Temperatures = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    beams: Annotated[Count, Field(le=MAX_BEAMS)] = 1
    seed: Annotated[Whole, Field(lt=2**64)] | None = None
    max_new_tokens: Count | None = None
    compression_ratio_threshold: Positive | None = 2.4
    logprob_threshold: Real | None = -1.0
    no_speech_threshold: NotNegative | None = 0.6

    def __post_init__(self) -> None:
        if len(self.prompt) > MAX_PROMPT_CHARACTERS:
            raise InvalidRequestError(
                f"a prompt may have up to {MAX_PROMPT_CHARACTERS} characters, got {len(self.prompt)}", "prompt"
            )

    def most_tokens(self, seconds: float) -> int:
        """The most tokens of a clip of so many seconds."""
        if self.max_new_tokens is not None:
            return self.max_new_tokens
        return min(FEWEST_NEW_TOKENS + math.ceil(TOKENS_PER_SECOND * seconds), MAX_NEW_TOKENS)

    def to_message(self, seconds: float = 0.0) -> link_pb2.Transcription:
        """As a frame carries it.

        Args:
            seconds: of the clip; 0: as long as what the model hears at once.
        """
        thresholds = {name: getattr(self, name) for name in _NO_LIMIT}
        return link_pb2.Transcription(
            seconds=seconds,
            language=self.language or "",
            task=self.task,
            prompt=self.prompt,
            timestamps=self.timestamps,
            temperatures=self.temperatures,
            beams=self.beams,
            seed=self.seed,
            max_new_tokens=self.max_new_tokens or 0,
            **{name: _NO_LIMIT[name] if value is None else value for name, value in thresholds.items()},
        )

    @classmethod
    def from_message(cls, message: link_pb2.Transcription) -> "TranscriptionOptions":
        """What a frame asks for.

        Raises:
            InvalidRequestError: one is out of range.
        """
        given: dict[str, Any] = {
            name: getattr(message, name) for name in ("language", "task", "prompt", "beams", "max_new_tokens")
        }
        given = {name: value for name, value in given.items() if value}
        if message.temperatures:
            given["temperatures"] = tuple(message.temperatures)
        if message.HasField("seed"):
            given["seed"] = message.seed
        for name, none in _NO_LIMIT.items():
            if message.HasField(name):
                value = getattr(message, name)
                given[name] = None if value == none else value
        return cls(timestamps=message.timestamps, **given)
