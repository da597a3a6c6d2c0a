"""Bursts of noise: the Gilbert-Elliott channel."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from channel.realisation import Realisation, Symbols, complex_noise, noise_variance, side_generator
from thinwire.errors import InvalidRequestError
from thinwire.spec import within


@dataclass(frozen=True)
class GilbertElliott:
    """``y_k = x_k + n_k`` with n_k ~ CN(0, N_s) of the state s, good or bad, of a Markov chain.

    A burst (a run of bad symbols) ends with probability ``p = 1 / length`` at each symbol, so that bursts are geometric
    with mean ``1 / p``; one begins with probability ``p share / (1 - share)``, so that the stationary share of bad
    symbols is ``share``. A frame begins in the stationary state. (Gilbert, 1960; Elliott, 1963.)

    ``snr_db`` is the *average* SNR, over both states: ``(1 - share) N_good + share N_bad = N0 = 10^(-SNR/10)`` with
    Es = 1 and ``N_bad / N_good = 10^(drop/10)``; half of each per real dimension.

    Attributes:
        share: stationary probability of the bad state.
        length: mean symbols of a burst; at least 1 / (1 - share), at which symbols are independent.
        drop_db: by how much the SNR is lower in a burst.
    """

    share: float = 0.1
    length: float = 10.0
    drop_db: float = 20.0

    def __post_init__(self) -> None:
        within("gilbert_elliott: share", self.share, 0, 0.999)
        within("gilbert_elliott: length", self.length, 1, 1e6)
        within("gilbert_elliott: drop_db", self.drop_db, 0, 60)
        # The margin keeps the quotient's rounding out.
        if self.length * (1 - self.share) < 1 - 1e-9:
            raise InvalidRequestError(
                f"gilbert_elliott: length must be at least 1 / (1 - share) = {1 / (1 - self.share):g}, "
                f"got {self.length:g}"
            )

    def variances(self, snr_db: float) -> tuple[float, float]:
        """Noise variances per complex symbol in the good and in the bad state."""
        ratio = 10.0 ** (self.drop_db / 10)
        good = noise_variance(snr_db) / (1 - self.share + self.share * ratio)
        return good, good * ratio

    def states(self, count: int, generator: np.random.Generator) -> NDArray[np.bool_]:
        """Draw the states of ``count`` consecutive symbols, true for bad, from one uniform number for each."""
        uniform = generator.random(count)
        end = 1 / self.length
        begin = end * self.share / (1 - self.share)
        # Bad comes after good below `begin`, and after bad below `1 - end`, which is no less: what lies between keeps
        # the state, and the last number outside says which it is. The first symbol has nothing to keep.
        decides = (uniform < begin) | (uniform >= 1 - end)
        bad = uniform < begin
        decides[:1], bad[:1] = True, uniform[:1] < self.share
        return bad[np.maximum.accumulate(np.where(decides, np.arange(count), 0))]

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Symbols]:
        """Draw the states, then the noise."""
        bad = self.states(math.prod(shape), side_generator(generator)).reshape(shape)
        good_variance, bad_variance = self.variances(snr_db)
        variance = np.where(bad, np.float32(bad_variance), np.float32(good_variance))
        noise = complex_noise(shape, 1.0, generator) * np.sqrt(variance)
        return Realisation(1 + 0j, noise, variance)
