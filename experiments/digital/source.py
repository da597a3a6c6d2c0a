"""What a source of bits offers to whoever chooses a frame for it."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

# Gives what a key named before, or computes it: `experiments.harness.setting.Setting.kept`.
Kept: TypeAlias = Callable[[str, Callable[[], Any]], Any]


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


class Source(Protocol):
    """Turns images into frames of so many bits, by the option that did best on *select*.

    Attributes:
        name: of it, in tables.
    """

    name: str

    def score(self, payload: int) -> float:
        """Accuracy on *select* of frames of so many bits that arrive whole; what does not fit is guessed."""
        ...

    def option(self, payload: int) -> str:
        """What is sent, in words."""
        ...

    def encode(self, payload: int) -> Coded:
        """The test images."""
        ...

    def answers(self, payload: int, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """What the cloud says to frames that were taken for whole and are not; ``n x payload``."""
        ...
