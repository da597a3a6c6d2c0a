"""The Rayleigh block-fading channel."""

import numpy as np

from channel.models.noise import complex_noise, noise_variance
from channel.realisation import Realisation, Symbols


class Rayleigh:
    """``y = h x + n`` with one h ~ CN(0, 1) for the whole frame and n ~ CN(0, N0) for each symbol.

    |h|^2 is exponentially distributed with mean 1, so that ``snr_db`` is the *average* SNR: Es/N0 in dB with Es = 1,
    N0 = 10^(-SNR/10), half of it per real dimension. A frame meets the SNR |h|^2 / N0.
    """

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the gain, then the noise."""
        gain = complex(complex_noise((), 1.0, generator))
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)
