"""The additive white Gaussian noise channel."""

import numpy as np

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance


class Awgn:
    """``y = x + n`` with n ~ CN(0, N0) for each symbol.

    SNR = Es/N0 in dB with Es = 1, so N0 = 10^(-SNR/10), half of it per real dimension.
    """

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the noise; the gain is 1."""
        variance = noise_variance(snr_db)
        return Realisation(1 + 0j, complex_noise(shape, variance, generator), variance)
