"""Phase noise: what a receiver's phase tracking leaves over."""

import math
from dataclasses import dataclass

import numpy as np

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance, side_generator
from thinwire.spec import within


@dataclass(frozen=True)
class PhaseNoise:
    """``y = x exp(j phi) + n`` with phi ~ N(0, sigma^2) and n ~ CN(0, N0) for each symbol.

    No receiver is told of phi: it is the error that is left once the oscillators' slow drift has been followed.
    Averaged over it, the signal keeps ``E[exp(j phi)] = exp(-sigma^2 / 2)`` of its amplitude, and the rest of its
    power, ``1 - exp(-sigma^2)``, acts as noise. ``snr_db`` is Es/N0 in dB with Es = 1, N0 = 10^(-SNR/10), half of it
    per real dimension, without that part.

    Attributes:
        rms_deg: sigma in degrees.
    """

    rms_deg: float = 5.0

    def __post_init__(self) -> None:
        within("phase_noise: rms_deg", self.rms_deg, 0, 180)

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the phases, then the noise."""
        normal = side_generator(generator).standard_normal(math.prod(shape)).reshape(shape)
        phase_error = np.exp(1j * math.radians(self.rms_deg) * normal).astype(np.complex64)
        variance = noise_variance(snr_db)
        return Realisation(1 + 0j, complex_noise(shape, variance, generator), variance, phase_error=phase_error)
