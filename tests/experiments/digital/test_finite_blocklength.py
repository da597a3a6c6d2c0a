"""The normal approximation against its limits and a simulated information density."""

import math

import numpy as np
import pytest

from experiments.digital.finite_blocklength import capacity, most_bits


def test_it_grows_into_capacity() -> None:
    shares = [most_bits(uses, 3.0, 1e-3) / uses / capacity(3.0) for uses in (100, 10_000, 1_000_000)]
    assert shares == sorted(shares)
    assert 0.99 < shares[-1] < 1
    assert capacity(0.0) == 1
    assert capacity(10.0) == pytest.approx(3.4594, abs=1e-4)


@pytest.mark.parametrize("snr_db", [-3.0, 0.0, 10.0])
def test_the_dispersion_is_the_variance_of_the_information_density(snr_db: float) -> None:
    """Inputs on the power shell: i = log2(1 + P) + (|y|^2 / (1 + P) - |n|^2) log2 e, drawn many times."""
    generator, draws, power = np.random.default_rng(0), 400_000, 10 ** (snr_db / 10)
    noise = generator.standard_normal((draws, 2)) @ np.array([1, 1j]) / math.sqrt(2)
    received = math.sqrt(power) + noise
    density = capacity(snr_db) + (np.abs(received) ** 2 / (1 + power) - np.abs(noise) ** 2) * math.log2(math.e)
    uses, tail = 1000, 1.0
    rate = 0.15865525393145707  # of the tail beyond one deviation
    back_off = uses * capacity(snr_db) + math.log2(2 * uses) / 2 - most_bits(uses, snr_db, rate)
    assert density.mean() == pytest.approx(capacity(snr_db), abs=0.02)
    assert back_off == pytest.approx(tail * math.sqrt(uses * density.var()), rel=0.01)
