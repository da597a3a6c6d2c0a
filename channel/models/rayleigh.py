"""Rayleigh fading in blocks, down to single symbols."""

from dataclasses import dataclass

import numpy as np

from channel.models.scatter import MAX_COHERENCE, scattered
from channel.realisation import Realisation, Symbols, complex_noise, noise_variance
from thinwire.spec import within


@dataclass(frozen=True)
class Rayleigh:
    """``y = h x + n`` with h ~ CN(0, 1), one for each block of symbols, and n ~ CN(0, N0) for each symbol.

    |h|^2 is exponentially distributed with mean 1, so that ``snr_db`` is the *average* SNR: Es/N0 in dB with Es = 1,
    N0 = 10^(-SNR/10), half of it per real dimension. A block meets the SNR |h|^2 / N0.

    Attributes:
        coherence: symbols of a block; 0: the whole frame is one; 1: fast fading.
    """

    coherence: int = 0

    def __post_init__(self) -> None:
        within("rayleigh: coherence", self.coherence, 0, MAX_COHERENCE)

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the gains, then the noise."""
        gain = scattered(shape, self.coherence, generator)
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)
