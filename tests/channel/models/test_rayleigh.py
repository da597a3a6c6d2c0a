"""The gain is CN(0, 1), one per frame, and drawn before the noise."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from channel.models.awgn import Awgn
from channel.models.rayleigh import Rayleigh
from channel.realisation import apply, keyed_generator

Z = NormalDist().inv_cdf(0.9995)  # two-sided 99.9%
COUNT = 20_000


@pytest.fixture(scope="module")
def gains() -> np.ndarray:
    generator = np.random.default_rng(7)
    return np.array([Rayleigh().draw((1, 1), 10.0, generator).gain for _ in range(COUNT)])


def test_gain_has_unit_mean_power_and_is_circular(gains: np.ndarray) -> None:
    # |h|^2 is exponential: mean 1, standard deviation 1. The parts are normal of variance 1/2.
    assert abs(np.mean(np.abs(gains) ** 2) - 1) < Z / math.sqrt(COUNT)
    for part in (gains.real, gains.imag):
        assert abs(np.mean(part)) < Z * math.sqrt(0.5 / COUNT)
        assert abs(np.mean(part**2) - 0.5) < Z * 0.5 * math.sqrt(2 / COUNT)
    assert abs(np.mean(gains.real * gains.imag)) < Z * 0.5 / math.sqrt(COUNT)


def test_gain_power_is_exponentially_distributed(gains: np.ndarray) -> None:
    powers = np.sort(np.abs(gains) ** 2)
    theory = 1 - np.exp(-powers)
    ranks = np.arange(COUNT + 1) / COUNT
    distance = max(np.max(theory - ranks[:-1]), np.max(ranks[1:] - theory))
    # Kolmogorov-Smirnov at 99.9%: sqrt(-ln(0.001 / 2) / 2) / sqrt(n).
    assert distance < math.sqrt(-math.log(0.0005) / 2 / COUNT)


def test_gain_is_one_number_per_frame_at_the_precision_that_is_reported() -> None:
    gain = Rayleigh().draw((6, 5), 10.0, np.random.default_rng(0)).gain
    assert isinstance(gain, complex)
    assert gain == complex(np.complex64(gain))


def test_gain_is_drawn_before_the_noise() -> None:
    small = Rayleigh().draw((1, 1), 10.0, np.random.default_rng(4))
    large = Rayleigh().draw((50, 16), -5.0, np.random.default_rng(4))
    assert small.gain == large.gain
    generator = np.random.default_rng(4)
    generator.standard_normal(2)
    assert np.array_equal(large.noise, Awgn().draw((50, 16), -5.0, generator).noise)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_uncoded_qpsk_over_blocks_has_the_bit_error_rate_of_theory(snr_db: float, seed: int) -> None:
    """Given h, BER = Q(sqrt(g |h|^2)) with g = Es/N0 and |h|^2 exponential.

    The mean of Q(sqrt(2 c |h|^2)) is (1 - sqrt(c / (1 + c))) / 2; here c = g / 2.
    """
    frames, symbols_per_frame = 10_000, 4
    bits = np.random.default_rng(8).integers(0, 2, (frames, symbols_per_frame, 2))
    symbols = ((1 - 2 * bits) / math.sqrt(2)).astype(np.float32).view(np.complex64)[..., 0]
    error_rates = np.empty(frames)
    for index in range(frames):
        realisation = Rayleigh().draw((symbols_per_frame,), snr_db, keyed_generator(seed, "link", "request", index))
        matched = np.conj(realisation.gain) * apply(symbols[index], realisation)
        decided = np.stack([matched.real, matched.imag], axis=-1) < 0
        error_rates[index] = np.mean(decided != bits[index])
    half = 10 ** (snr_db / 10) / 2
    expected = 0.5 * (1 - math.sqrt(half / (1 + half)))
    # Bits of a frame share their gain, so the frame is the independent unit.
    assert abs(error_rates.mean() - expected) < Z * error_rates.std(ddof=1) / math.sqrt(frames)
