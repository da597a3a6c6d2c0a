"""What a source of bits offers to whoever chooses a frame for it; and the simplest, the device's own answer."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from experiments.digital.features import SharedImages

# Gives what a key named before, or computes it: `experiments.harness.setting.Setting.kept`.
Kept: TypeAlias = Callable[[str, Callable[[], Any]], Any]
# How images can be sent, and of each image of *select*, ``ways x images``, the bits that it takes and whether the
# answer is right.
Option: TypeAlias = tuple[Any, NDArray[np.float64], NDArray[np.float64]]


class Coded(NamedTuple):
    """Test images as frames.

    Attributes:
        bits: ``n x payload`` uint8; zeros for what does not fit.
        sent: whether the image fits.
        answers: class that the cloud says to each frame that arrives whole; int64.
    """

    bits: NDArray[np.uint8]
    sent: NDArray[np.bool_]
    answers: NDArray[np.int64]


class Source(ABC):
    """Turns images into frames of so many bits, by the option that does best on *select*.

    Args:
        name: of it, in tables.
        options: their ways finest first: an image takes the first that fits.
        guessed: for each image of *select*, 1 where it is right to guess, as is done where nothing fits.
        spare: bits that a frame must have beyond what is sent.
    """

    def __init__(self, name: str, options: Sequence[Option], guessed: NDArray[np.float64], spare: float = 0.0) -> None:
        self.name = name
        self._options, self._guessed, self._spare = options, guessed, spare
        self.best = cache(self._best)

    @property
    def has_options(self) -> bool:
        """Whether there is any way at all: what takes too many bits was not tried."""
        return bool(self._options)

    def _best(self, payload: int) -> tuple[Any, float]:
        """The option that is right most often within so many bits, the first of equals, and its accuracy."""
        found = []
        for option, bits, right in self._options:
            fits = bits <= payload - self._spare
            first, images = fits.argmax(axis=0), np.arange(bits.shape[1])
            score = np.where(fits[first, images], right[first, images], self._guessed[images]).mean()
            found.append((option, float(score)))
        return max(found, key=lambda one: one[1])

    def score(self, payload: int) -> float:
        """Accuracy on *select* of frames of so many bits that arrive whole; what does not fit is guessed."""
        return self.best(payload)[1]

    @abstractmethod
    def option(self, payload: int) -> str:
        """What is sent, in words."""

    @abstractmethod
    def encode(self, payload: int) -> Coded:
        """The test images."""

    @abstractmethod
    def answers(self, payload: int, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """What the cloud says to frames that were taken for whole and are not; ``n x payload``."""


class LabelSource(Source):
    """The number of the class, in as many bits as it takes; nobody guesses where it does not fit.

    Args:
        select: what to score on.
        test: what to send.
    """

    def __init__(self, select: SharedImages, test: SharedImages) -> None:
        self._test = test
        self.bits = (len(select.evaluator.bundle.labels) - 1).bit_length()
        right = (select.logits.argmax(axis=1) == select.labels)[None].astype(np.float64)
        super().__init__("label", [(None, np.full(right.shape, float(self.bits)), right)], np.zeros(len(select)))

    def option(self, payload: int) -> str:
        """See `Source`."""
        return f"{self.bits} bits"

    def encode(self, payload: int) -> Coded:
        """See `Source`."""
        answers = self._test.logits.argmax(axis=1)
        bits = ((answers[:, None] >> np.arange(payload)) & 1).astype(np.uint8)
        return Coded(bits, np.full(len(answers), payload >= self.bits), answers)

    def answers(self, payload: int, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """See `Source`; a number beyond the classes is no right answer."""
        numbers: NDArray[np.int64] = (bits.astype(np.int64) << np.arange(payload)).sum(axis=1)
        return numbers
