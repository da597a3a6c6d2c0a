"""Zero-forcing against complex arithmetic in float64, for numpy and torch."""

import numpy as np
import pytest
import torch

from thinwire.equalise import mmse, zero_forcing


def complex_normal(generator, shape):
    return (generator.normal(size=shape) + 1j * generator.normal(size=shape)).astype(np.complex64)


@pytest.fixture(name="received")
def received_fixture():
    return complex_normal(np.random.default_rng(1), (4, 3, 5))


@pytest.fixture(name="gain")
def gain_fixture():
    return complex_normal(np.random.default_rng(2), (4, 1, 1))


def test_division_by_the_gain(received, gain):
    noise_variance = np.asarray([0.1, 0.2, 0.0, 5.0]).reshape(4, 1, 1)
    symbols, noise = zero_forcing(received, gain, noise_variance)
    np.testing.assert_allclose(symbols, received.astype(np.complex128) / gain, rtol=1e-5)
    np.testing.assert_allclose(noise, noise_variance / np.abs(gain.astype(np.complex128)) ** 2, rtol=1e-5)
    assert symbols.dtype == np.complex64


def test_what_was_sent_comes_back_without_noise(received, gain):
    symbols, _ = zero_forcing(gain * received, gain, 0.0)
    np.testing.assert_allclose(symbols, received, rtol=1e-4, atol=1e-6)


def test_the_variance_is_that_of_the_noise_on_the_symbols():
    generator = np.random.default_rng(3)
    sent, gain = np.complex64(0.6 - 0.8j), np.complex64(0.3 + 0.4j)
    noise = complex_normal(generator, 200_000) * np.float32(np.sqrt(0.5 * 0.5))
    symbols, variance = zero_forcing(gain * sent + noise, gain, 0.5)
    assert variance == pytest.approx(0.5 / 0.25, rel=1e-5)
    assert np.mean(np.abs(symbols - sent) ** 2) == pytest.approx(variance, rel=0.02)


def test_torch_gives_what_numpy_gives(received, gain):
    expected, expected_noise = zero_forcing(received, gain, np.float32(0.3))
    symbols, noise = zero_forcing(torch.from_numpy(received), torch.from_numpy(gain), torch.tensor(0.3))
    np.testing.assert_allclose(symbols.numpy(), expected, rtol=1e-6)
    np.testing.assert_allclose(noise.numpy(), expected_noise, rtol=1e-6)


@pytest.mark.parametrize("gain", [np.complex64(0), np.complex64(1e-20)])
def test_a_dead_channel_stays_finite(received, gain):
    symbols, noise = zero_forcing(received, gain, 0.1)
    assert np.isfinite(symbols).all()
    assert np.isfinite(noise)
    assert noise > 1e9


def test_mmse_has_the_least_error_of_all_scales_and_says_how_much():
    generator = np.random.default_rng(4)
    sent, gain = complex_normal(generator, 100_000) * np.float32(np.sqrt(0.5)), np.complex64(0.3 + 0.4j)
    received = gain * sent + complex_normal(generator, 100_000) * np.float32(np.sqrt(0.5 * 0.5))
    estimates, error = mmse(received, gain, 0.5)
    assert error == pytest.approx(0.5 / 0.75)
    measured = np.mean(np.abs(estimates - sent) ** 2)
    assert measured == pytest.approx(error, rel=0.02)
    assert measured <= min(np.mean(np.abs(scale * estimates - sent) ** 2) for scale in (0.9, 1.1))


def test_mmse_is_zero_forcing_less_its_bias(received, gain):
    symbols, noise = zero_forcing(received, gain, 0.3)
    estimates, error = mmse(received, gain, 0.3)
    np.testing.assert_allclose(estimates, symbols / (1 + noise), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(error, noise / (1 + noise), rtol=1e-4)


@pytest.mark.parametrize("noise_variance", [0.0, 0.1])
def test_mmse_makes_nothing_of_a_dead_channel(received, noise_variance):
    estimates, error = mmse(received, np.complex64(0), noise_variance)
    assert not estimates.any()
    assert error == 1
