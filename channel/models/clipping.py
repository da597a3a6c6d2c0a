"""Clipping: the sender's amplifier limits what it sends."""

from dataclasses import dataclass

import numpy as np

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance
from thinwire.spec import within


@dataclass(frozen=True)
class Clipping:
    """``y = c(x) + n`` with ``c(x) = x min(1, A / |x|)`` and n ~ CN(0, N0) for each symbol.

    ``snr_db`` is Es/N0 in dB with Es = 1 *before* the amplifier, N0 = 10^(-SNR/10), half of it per real dimension:
    what is clipped off is lost. For Gaussian symbols Bussgang's theorem gives ``c(x) = a x + d`` with d uncorrelated
    with x, ``a = 1 - exp(-A^2) + (sqrt(pi) / 2) A erfc(A)``, and a sent power of ``1 - exp(-A^2)``. Receivers are not
    told of a.

    Attributes:
        level_db: A^2 in dB above the mean power of the symbols, the output back-off of the limiter.
    """

    level_db: float = 3.0

    def __post_init__(self) -> None:
        within("clipping: level_db", self.level_db, -20, 40)

    @property
    def amplitude(self) -> float:
        """A, for symbols of unit mean power."""
        return float(10.0 ** (self.level_db / 20))

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the noise."""
        variance = noise_variance(snr_db)
        return Realisation(1 + 0j, complex_noise(shape, variance, generator), variance, clip=self.amplitude)
