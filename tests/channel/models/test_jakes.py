"""Clarke's fade: its correlation, how often it crosses a level, and how long it stays below."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from channel.fade import correlation
from channel.models.jakes import Jakes
from tests.channel.models.theory import SEEDS, assert_mean, with_two_seeds

DOPPLER = 0.005
FRAMES, LENGTH = 250, 1000


@pytest.fixture(scope="module", name="fades")
def fades_fixture() -> dict[int, NDArray[np.complex64]]:
    """Frames of five Doppler periods each, by seed."""

    def draw(seed: int) -> NDArray[np.complex64]:
        generator = np.random.default_rng(seed)
        return np.array([Jakes(DOPPLER).draw((LENGTH,), 10.0, generator).gain for _ in range(FRAMES)])

    return {seed: draw(seed) for seed in SEEDS}


@with_two_seeds
def test_the_mean_power_is_one(fades: dict[int, NDArray[np.complex64]], seed: int) -> None:
    assert_mean((np.abs(fades[seed]) ** 2).mean(axis=1), 1.0)


@with_two_seeds
@pytest.mark.parametrize("lag", [1, 40, 76, 300])
def test_the_correlation_is_the_bessel_function(fades: dict[int, NDArray[np.complex64]], seed: int, lag: int) -> None:
    products = (fades[seed][:, lag:] * fades[seed][:, :-lag].conj()).mean(axis=1)
    # 1.5 Doppler periods at most, for which the quadrature of `correlation` is exact.
    assert_mean(products.real, correlation(DOPPLER, lag))
    assert_mean(products.imag, 0.0)


@with_two_seeds
@pytest.mark.parametrize("rho", [0.3, 0.7, 1.5])
def test_level_crossings_and_the_duration_of_fades_are_rices(
    fades: dict[int, NDArray[np.complex64]], seed: int, rho: float
) -> None:
    below = np.abs(fades[seed]) < rho
    crossings = (~below[:, :-1] & below[:, 1:]).sum(axis=1)
    rate = math.sqrt(2 * math.pi) * DOPPLER * rho * math.exp(-(rho**2))
    assert_mean(crossings / (LENGTH - 1), rate)
    # Symbols below the level for each crossing, as a ratio: what is left of it has mean zero.
    duration = (math.exp(rho**2) - 1) / (rho * DOPPLER * math.sqrt(2 * math.pi))
    assert_mean(below.mean(axis=1) - crossings / (LENGTH - 1) * duration, 0.0)


def test_without_motion_the_gain_stays() -> None:
    gain = np.asarray(Jakes(0.0).draw((50, 4), 10.0, np.random.default_rng(0)).gain)
    assert np.unique(gain).size == 1
