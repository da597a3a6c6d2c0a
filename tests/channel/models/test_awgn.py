"""The noise has the power that the SNR names, half of it in each real dimension."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from channel.models.awgn import Awgn
from channel.realisation import apply, keyed_generator

Z = NormalDist().inv_cdf(0.9995)  # two-sided 99.9%


@pytest.mark.parametrize(("snr_db", "variance"), [(-10.0, 10.0), (0.0, 1.0), (10.0, 0.1), (30.0, 0.001)])
def test_noise_power_is_half_of_n0_per_real_dimension(snr_db: float, variance: float) -> None:
    count = 100_000
    realisation = Awgn().draw((100, count // 100), snr_db, np.random.default_rng(11))
    assert realisation.noise_variance == pytest.approx(variance)
    assert realisation.noise.shape == (100, count // 100)
    assert realisation.noise.dtype == np.complex64
    noise = realisation.noise.ravel().astype(np.complex128)
    # A squared normal of variance v has mean v and standard deviation sqrt(2) v.
    for part in (noise.real, noise.imag):
        assert abs(np.mean(part**2) - variance / 2) < Z * math.sqrt(2 / count) * variance / 2
        assert abs(np.mean(part)) < Z * math.sqrt(variance / 2 / count)
    # The product of two independent parts has mean 0 and standard deviation v.
    assert abs(np.mean(noise.real * noise.imag)) < Z * variance / 2 / math.sqrt(count)
    # White: neighbours are uncorrelated too.
    assert abs(np.mean(noise[1:] * noise[:-1].conj()).real) < Z * variance / math.sqrt(2 * (count - 1))


def test_gain_is_one() -> None:
    assert Awgn().draw((1, 1), 0.0, np.random.default_rng(0)).gain == 1


def test_a_frame_of_fewer_tokens_meets_the_beginning_of_the_same_noise() -> None:
    long = Awgn().draw((9, 4), 3.0, np.random.default_rng(5)).noise
    short = Awgn().draw((2, 4), 3.0, np.random.default_rng(5)).noise
    assert np.array_equal(short, long[:2])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("snr_db", [0.0, 4.0, 8.0])
def test_uncoded_qpsk_has_the_bit_error_rate_of_theory(snr_db: float, seed: int) -> None:
    """Each bit has amplitude sqrt(Es/2) and noise variance N0/2: BER = Q(sqrt(Es/N0))."""
    count = 500_000
    bits = np.random.default_rng(2).integers(0, 2, (count, 2))
    symbols = ((1 - 2 * bits) / math.sqrt(2)).astype(np.float32).view(np.complex64)
    received = apply(symbols, Awgn().draw(symbols.shape, snr_db, keyed_generator(seed, "link", "request", 0)))
    measured = np.mean((received.view(np.float32) < 0) != bits)
    expected = 0.5 * math.erfc(math.sqrt(10 ** (snr_db / 10)) / math.sqrt(2))
    assert abs(measured - expected) < Z * math.sqrt(expected * (1 - expected) / (2 * count))
