"""The line of sight has K times the power of the rest, and the mean power is 1."""

import math

import numpy as np
import pytest

from channel.models.rician import Rician
from tests.channel.models.theory import assert_mean, with_two_seeds

COUNT = 50_000


@with_two_seeds
@pytest.mark.parametrize("k_db", [-3.0, 3.0, 10.0])
def test_moments(k_db: float, seed: int) -> None:
    k = 10 ** (k_db / 10)
    gain = np.asarray(Rician(k_db, 1).draw((COUNT,), 10.0, np.random.default_rng(seed)).gain).astype(np.complex128)
    assert_mean(np.abs(gain) ** 2, 1.0)
    assert_mean(gain.real, math.sqrt(k / (k + 1)))
    assert_mean(gain.imag, 0.0)
    assert_mean(np.abs(gain - math.sqrt(k / (k + 1))) ** 2, 1 / (k + 1))


def test_of_one_block_the_gain_is_one_number() -> None:
    gain = Rician(3.0).draw((6, 5), 10.0, np.random.default_rng(0)).gain
    assert isinstance(gain, complex)
    assert gain == complex(np.complex64(gain))


def test_a_block_holds_as_long_as_it_says() -> None:
    gain = np.asarray(Rician(3.0, 4).draw((3, 5), 10.0, np.random.default_rng(0)).gain).ravel()
    assert gain.dtype == np.complex64
    blocks = np.array_split(gain, [4, 8, 12])
    assert all(np.unique(block).size == 1 for block in blocks)
    assert len({block[0] for block in blocks}) == 4
