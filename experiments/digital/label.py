"""The device's own answer as a source: nothing but the class."""

import numpy as np
from numpy.typing import NDArray

from experiments.digital.features import SharedImages
from experiments.digital.source import Coded


class LabelSource:
    """The number of the class, in as many bits as it takes; see `experiments.digital.source.Source`.

    Args:
        select: what to score on.
        test: what to send.
    """

    name = "label"

    def __init__(self, select: SharedImages, test: SharedImages) -> None:
        self._select, self._test = select, test
        self.bits = (len(select.evaluator.bundle.labels) - 1).bit_length()

    def score(self, payload: int) -> float:
        """See `Source`."""
        return (
            float((self._select.logits.argmax(axis=1) == self._select.labels).mean()) if payload >= self.bits else 0.0
        )

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
