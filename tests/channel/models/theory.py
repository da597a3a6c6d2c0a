"""What the closed-form checks share: 99.9% intervals over independent units, and uncoded QPSK through a model.

The seeds are fixed, so that a check holds or fails for good: with fresh ones, one suite of three would fail by chance
in one of its some four hundred and fifty intervals.
"""

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from channel.realisation import Symbols
from channel.transmission import carry
from thinwire.channels import Channel
from thinwire.csi import Csi

Z = NormalDist().inv_cdf(0.9995)  # two-sided 99.9%
SNRS_DB = (0.0, 5.0, 10.0)
SEEDS = (1, 2)
at_three_snrs = pytest.mark.parametrize("snr_db", SNRS_DB)
with_two_seeds = pytest.mark.parametrize("seed", SEEDS)


def assert_mean(samples: NDArray[np.float64], expected: float) -> None:
    """The mean of independent samples is the expected one, within the 99.9% interval of the normal law."""
    error = float(samples.std(ddof=1)) / math.sqrt(len(samples))
    assert abs(float(samples.mean()) - expected) < Z * error, (samples.mean(), expected, error)


def q(x: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """The tail of the normal distribution."""
    return 0.5 * np.vectorize(math.erfc)(np.asarray(x) / math.sqrt(2))


def averaged(error_rate: Callable[[NDArray[np.float64]], NDArray[np.float64]], sigma: float) -> float:
    """The mean of a function of a normal variable of mean 0, by Gauss-Hermite quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    return float(np.sum(weights * error_rate(sigma * nodes)) / math.sqrt(2 * math.pi))


def qpsk(shape: tuple[int, ...], generator: np.random.Generator) -> tuple[NDArray[np.int64], Symbols]:
    """Random bits, two for each symbol, and their symbols of unit power: 0 is positive, 1 is negative."""
    bits = generator.integers(0, 2, (*shape, 2))
    return bits, ((1 - 2 * bits) / math.sqrt(2)).astype(np.float32).view(np.complex64)[..., 0]


def error_shares(
    model: str, snr_db: float, seed: int, csi: str = "perfect", frames: int = 2000, symbols: int = 24
) -> NDArray[np.float64]:
    """Share of wrong bits of each of ``frames`` frames of QPSK, decided by the phase of ``conj(h) y``.

    Bits of one frame share gains and states, so that the frame is the independent unit.
    """
    channel = Channel(model, snr_db, Csi.parse(csi))
    bits, sent = qpsk((frames, 1, symbols), np.random.default_rng(seed))
    shares = np.empty(frames)
    generator = np.random.default_rng((seed, 1))
    for index in range(frames):
        arrival = carry(sent[index], channel, generator)
        matched = np.conj(arrival.gain) * arrival.symbols
        shares[index] = np.mean((np.stack([matched.real, matched.imag], axis=-1) < 0) != bits[index])
    return shares
