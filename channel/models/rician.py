"""Rician fading: a line of sight beside the scattered paths, in blocks down to single symbols."""

import math
from dataclasses import dataclass

import numpy as np

from channel.models.scatter import MAX_COHERENCE, scattered
from channel.realisation import Realisation, Symbols, complex_noise, noise_variance
from thinwire.spec import within


@dataclass(frozen=True)
class Rician:
    """``y = h x + n`` with ``h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) g``, g ~ CN(0, 1), and n ~ CN(0, N0).

    The line of sight has the phase 0. E|h|^2 = 1, so that ``snr_db`` is the average SNR: Es/N0 in dB with Es = 1,
    N0 = 10^(-SNR/10), half of it per real dimension.

    Attributes:
        k_db: K, the power of the line of sight over that of all scattered paths, in dB.
        coherence: symbols of a block, each of which has a g of its own; 0: the whole frame is one; 1: fast fading.
    """

    k_db: float = 6.0
    coherence: int = 0

    def __post_init__(self) -> None:
        within("rician: k_db", self.k_db, -40, 60)
        within("rician: coherence", self.coherence, 0, MAX_COHERENCE)

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the scattered paths, then the noise."""
        k = 10.0 ** (self.k_db / 10)
        paths = np.asarray(scattered(shape, self.coherence, generator))
        gain = (math.sqrt(k / (k + 1)) + math.sqrt(1 / (k + 1)) * paths).astype(np.complex64)
        variance = noise_variance(snr_db)
        noise = complex_noise(shape, variance, generator)
        return Realisation(gain if self.coherence else complex(gain), noise, variance)
