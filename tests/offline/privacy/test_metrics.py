"""Metrics against their closed forms."""

import numpy as np
import pytest

from offline.privacy.metrics import estimate, psnr, ssim


def pictures(count: int = 3) -> np.ndarray:
    return np.random.default_rng(0).random((count, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.5, 0.1, 0.01])
def test_psnr_of_a_constant_offset_is_twenty_times_its_logarithm(offset: float) -> None:
    true = pictures() / 2
    assert psnr(true + np.float32(offset), true) == pytest.approx(-20 * np.log10(offset), abs=1e-3)


def test_psnr_of_noise_is_its_variance_in_decibels() -> None:
    true = np.zeros((1, 256, 256, 3), np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, true.shape).astype(np.float32)
    # 196,608 draws: the variance of the estimate is known to 0.3%.
    assert psnr(noise, true)[0] == pytest.approx(20.0, abs=0.05)


def test_equal_pictures_have_no_error_and_full_similarity() -> None:
    true = pictures()
    assert np.isinf(psnr(true, true)).all()
    assert ssim(true, true) == pytest.approx(1.0)


def test_similarity_of_flat_pictures_is_that_of_their_means() -> None:
    one, other = np.full((1, 16, 16, 3), 0.2, np.float32), np.full((1, 16, 16, 3), 0.6, np.float32)
    constant = 0.01**2
    expected = (2 * 0.2 * 0.6 + constant) / (0.2**2 + 0.6**2 + constant)
    assert ssim(one, other)[0] == pytest.approx(expected, abs=1e-5)


def test_estimate_is_mean_and_standard_error() -> None:
    found = estimate(np.array([1.0, 2.0, 3.0, 4.0]))
    assert found.value == 2.5
    assert found.se == pytest.approx((5 / 3) ** 0.5 / 2)
