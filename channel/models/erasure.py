"""Symbols that are lost one by one: Bernoulli erasure."""

import math
from dataclasses import dataclass

import numpy as np

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance, side_generator
from thinwire.spec import within


@dataclass(frozen=True)
class Erasure:
    """``y = h x + n`` with h = 0 with probability ``share`` and else 1, for each symbol, and n ~ CN(0, N0).

    ``snr_db`` is the SNR of the symbols that arrive: Es/N0 in dB with Es = 1, N0 = 10^(-SNR/10), half of it per real
    dimension. E|h|^2 is therefore 1 - share here, and not 1. A receiver that is told the gains knows what is lost.

    Attributes:
        share: probability that a symbol is erased.
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        within("erasure: share", self.share, 0, 1)

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw what is erased, then the noise."""
        uniform = side_generator(generator).random(math.prod(shape)).reshape(shape)
        gain = (uniform >= self.share).astype(np.complex64)
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)
