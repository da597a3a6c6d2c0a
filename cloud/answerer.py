"""What the cloud's model does, whatever it runs on: one protocol for each task."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from thinwire.equalise import ReceivedTokens
from thinwire.errors import ThinwireError
from thinwire.generation import Generation


class Classifier(Protocol):
    """Answers frames and, for comparison, plain images."""

    def classify_frames(self, frames: Sequence[ReceivedTokens]) -> NDArray[np.float32]:
        """Decode frames of any token counts and rates together; each gets what it would get alone.

        Returns:
            ``frames x classes`` logits.
        """
        ...

    def classify_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the plain model on a ``batch x size x size x 3`` array of input pixels.

        Returns:
            ``batch x classes`` logits.
        """
        ...


class Prefix(Protocol):
    """What a model keeps of one image or clip, to answer as often as anybody asks."""

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        ...


@dataclass
class Question:
    """One question about one image.

    Attributes:
        prefix: what is kept of the image.
        text: the question itself.
        generation: how to answer.
        given_up: set when nobody waits for the answer any more.
        on_text: told the whole text so far, whenever it has grown, by the model's thread. One that is answered again
            alone, because another of its batch failed, is told the same again.
    """

    prefix: Prefix
    text: str
    generation: Generation = field(default_factory=Generation)
    given_up: threading.Event = field(default_factory=threading.Event)
    on_text: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Answer:
    """An answer.

    Attributes:
        text: without its end, and without white space around it.
        score: geometric mean of its tokens' probabilities under the model, that of the end included.
        prompt_tokens: tokens that were read: text before the image, image, question.
        tokens: tokens that were written, the end included.
        finish_reason: "stop" if it ended by itself, "length" if it was cut.
    """

    text: str
    score: float
    prompt_tokens: int
    tokens: int
    finish_reason: Literal["stop", "length"]


class Answerer(Protocol):
    """Answers questions about frames and, for comparison, about plain images.

    Where a list holds an error, it concerns that item alone.
    """

    def view_frames(self, frames: Sequence[ReceivedTokens]) -> Sequence[Prefix | ThinwireError]:
        """Decode frames of any token counts and rates together, and read them in."""
        ...

    def view_images(self, pixels: NDArray[np.uint8]) -> Sequence[Prefix | ThinwireError]:
        """Read in a ``batch x size x size x 3`` array of input pixels through the plain model's own vision tower."""
        ...

    def answer(self, questions: Sequence[Question]) -> Sequence[Answer | ThinwireError]:
        """Answer questions about any frames and images together; each gets what it would get alone."""
        ...
