"""Metrics against their closed forms."""

import numpy as np
import pytest
from numpy.typing import NDArray

from experiments.privacy.likeness import psnr, ssim


def pictures(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 200, (count, 16, 16, 3)).astype(np.uint8)


@pytest.mark.parametrize("offset", [1, 10, 51])
def test_psnr_of_a_constant_offset_is_twenty_times_its_logarithm(offset: int) -> None:
    true = pictures()
    drawn = (true + offset).astype(np.uint8)
    assert psnr(drawn, true) == pytest.approx(20 * np.log10(255 / offset))
    # Whichever of the two is darker: eight bits must not wrap around.
    assert psnr(true, drawn) == pytest.approx(20 * np.log10(255 / offset))


def test_psnr_of_noise_is_its_variance_in_decibels() -> None:
    true = np.full((1, 256, 256, 3), 128, np.uint8)
    noise = np.random.default_rng(1).normal(0, 25.5, true.shape)
    # 196,608 draws: the variance of the estimate is known to 0.3%.
    assert psnr((true + noise).round().astype(np.uint8), true)[0] == pytest.approx(20.0, abs=0.05)


def test_equal_pictures_have_no_error_and_full_similarity() -> None:
    true = pictures()
    assert np.isinf(psnr(true, true)).all()
    assert ssim(true, true) == pytest.approx(1.0)


def test_similarity_of_flat_pictures_is_that_of_their_means() -> None:
    one, other = np.full((1, 16, 16, 3), 51, np.uint8), np.full((1, 16, 16, 3), 153, np.uint8)
    constant = (0.01 * 255) ** 2
    expected = (2 * 51 * 153 + constant) / (51**2 + 153**2 + constant)
    assert ssim(one, other)[0] == pytest.approx(expected)
