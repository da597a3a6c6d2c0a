"""What the cloud's model does, whatever it runs on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ReceivedTokens:
    """One frame after equalisation.

    Attributes:
        symbols: ``N x S`` complex64.
        noise_variance: variance of the noise per complex symbol after equalisation; 0 for a link without noise.
    """

    symbols: NDArray[np.complex64]
    noise_variance: float


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
