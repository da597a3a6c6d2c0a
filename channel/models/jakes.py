"""Rayleigh fading that changes from symbol to symbol as a receiver moves: Clarke's model, Jakes' spectrum."""

import math
from dataclasses import dataclass

import numpy as np

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance, side_generator
from thinwire.spec import within

# The sum's correlation is J0 to rounding up to a lag of some five Doppler periods, and small beyond.
SINUSOIDS = 64


@dataclass(frozen=True)
class Jakes:
    """``y_k = h_k x_k + n_k`` with ``E[h_k conj(h_{k+d})] = J0(2 pi f d)`` and n ~ CN(0, N0) for each symbol.

    ``h_k = sum_m a_m exp(j 2 pi f k cos((2 pi m + u) / M))`` with M = 64 paths, a_m ~ CN(0, 1/M) and u uniform in
    [0, 2 pi): Gaussian amplitudes make it a Gaussian process for any M, |h_k|^2 exponential with mean 1. So ``snr_db``
    is the average SNR: Es/N0 in dB with Es = 1, N0 = 10^(-SNR/10), half of it per real dimension. |h| crosses rho
    downwards ``sqrt(2 pi) f rho exp(-rho^2)`` times a symbol (Rice), and stays below
    ``(exp(rho^2) - 1) / (rho f sqrt(2 pi))`` symbols on average. (Clarke, 1968; Jakes, 1974.)

    Attributes:
        doppler: f, the largest Doppler shift in cycles per symbol.
    """

    doppler: float = 0.01

    def __post_init__(self) -> None:
        within("jakes: doppler", self.doppler, 0, 0.5)

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the paths, then the noise."""
        side = side_generator(generator)
        amplitudes = complex_noise((SINUSOIDS,), 1 / SINUSOIDS, side)
        angles = (np.arange(SINUSOIDS) + side.random()) * (2 * math.pi / SINUSOIDS)
        time = np.arange(math.prod(shape))
        gain = np.zeros(len(time), np.complex128)
        # One after another: all at once, the largest frame would take a gigabyte.
        for amplitude, step in zip(amplitudes, 2j * math.pi * self.doppler * np.cos(angles), strict=True):
            gain += amplitude * np.exp(step * time)
        variance = noise_variance(snr_db)
        noise = complex_noise(shape, variance, generator)
        return Realisation(gain.astype(np.complex64).reshape(shape), noise, variance)
