"""A frequency-selective channel, a tapped delay line, as OFDM's subcarriers meet it."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance, side_generator
from thinwire.errors import InvalidRequestError
from thinwire.spec import within

MAX_SUBCARRIERS = 4096


@dataclass(frozen=True)
class Ofdm:
    """``y_k = H_k x_k + n_k`` on subcarrier k of N, with ``H_k = sum_l h_l exp(-j 2 pi k l / N)`` and n ~ CN(0, N0).

    The taps h_0 ... h_{L-1}, one sample apart, are independent CN(0, p_l) with ``p_l ~ 10^(-decay l / 10)`` and
    ``sum p_l = 1``; they stay for the frame. A cyclic prefix of at least L - 1 samples makes the delay line a circular
    convolution, and the transforms turn that into one complex gain per subcarrier, so that one tap equalises it.
    Consecutive symbols of a frame take consecutive subcarriers, then those of the next OFDM symbol.

    Every H_k is CN(0, 1), so that ``snr_db`` is the average SNR: Es/N0 in dB with Es = 1 per subcarrier,
    N0 = 10^(-SNR/10), half of it per real dimension. The cyclic prefix takes (L - 1) / N more time, which is not
    counted as channel uses.

    Attributes:
        taps: L, at most N.
        decay_db: by how much each tap is weaker than the one before, on average.
        subcarriers: N.
    """

    taps: int = 4
    decay_db: float = 3.0
    subcarriers: int = 64

    def __post_init__(self) -> None:
        within("ofdm: subcarriers", self.subcarriers, 1, MAX_SUBCARRIERS)
        within("ofdm: taps", self.taps, 1, MAX_SUBCARRIERS)
        within("ofdm: decay_db", self.decay_db, 0, 60)
        if self.taps > self.subcarriers:
            raise InvalidRequestError(f"ofdm: {self.taps} taps are more than the {self.subcarriers} subcarriers")

    def powers(self) -> NDArray[np.float64]:
        """Mean power of each tap; they sum to 1."""
        powers: NDArray[np.float64] = 10.0 ** (-self.decay_db * np.arange(self.taps) / 10)
        powers /= powers.sum()
        return powers

    def draw_taps(self, generator: np.random.Generator) -> Symbols:
        """Draw the delay line, ``taps`` complex numbers."""
        taps: Symbols = complex_noise((self.taps,), 1.0, generator) * np.sqrt(self.powers()).astype(np.float32)
        return taps

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the taps, then the noise."""
        response = np.fft.fft(self.draw_taps(side_generator(generator)), self.subcarriers).astype(np.complex64)
        gain = np.resize(response, math.prod(shape)).reshape(shape)
        variance = noise_variance(snr_db)
        return Realisation(gain, complex_noise(shape, variance, generator), variance)
