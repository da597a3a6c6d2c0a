"""Equalisation: the formulas against complex arithmetic in float64, for numpy and torch, and whole frames."""

import numpy as np
import pytest
import torch

from thinwire.equalise import mmse, receive, zero_forcing
from thinwire.errors import InvalidFrameError

SYMBOLS = np.array([[1 + 1j, -2j]], dtype=np.complex64)


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


def test_it_undoes_the_gain_and_scales_the_noise():
    gain = 0.5 - 0.25j
    received = receive((gain * SYMBOLS).astype(np.complex64), gain, 0.1)
    np.testing.assert_allclose(received.symbols, SYMBOLS, rtol=1e-6)
    assert received.noise_variance == pytest.approx(0.1 / abs(gain) ** 2)
    assert received.symbols.dtype == np.complex64


def test_without_noise_and_gain_it_is_the_identity():
    received = receive(SYMBOLS, 1 + 0j, 0.0)
    np.testing.assert_allclose(received.symbols, SYMBOLS, rtol=1e-7)
    assert received.noise_variance == 0


@pytest.mark.parametrize(
    ("gain", "variance"),
    [(complex("nan"), 0.1), (complex("inf"), 0.1), (1 + 0j, -0.1), (1 + 0j, float("nan")), (0j, 1e300)],
)
def test_what_cannot_be_is_refused(gain, variance):
    with pytest.raises(InvalidFrameError):
        receive(SYMBOLS, gain, variance)


def varied():
    """A frame of 6 x 4 symbols with a gain and a variance for each, two of them erased."""
    generator = np.random.default_rng(0)
    parts = generator.normal(size=(3, 6, 4, 2)).astype(np.float32).view(np.complex64)[..., 0]
    gain = parts[1]
    gain[1, :2] = 0
    return parts[0], gain, np.abs(parts[2]).astype(np.float32)


@pytest.mark.parametrize("equaliser", ["mmse", "zf"])
def test_one_gain_for_all_is_the_same_however_it_is_told(equaliser):
    gain = np.complex64(0.5 - 0.25j)
    plain = receive(SYMBOLS, complex(gain), 0.125, equaliser)
    told = receive(SYMBOLS, np.full((1, 2), gain), np.full((1, 2), 0.125, np.float32), equaliser)
    np.testing.assert_allclose(told.symbols, plain.symbols, rtol=1e-6)
    assert told.noise_variance == pytest.approx(plain.noise_variance, rel=1e-6)


def test_the_decoders_scale_leads_to_the_mmse_estimate_of_each_symbol():
    received, gain, variance = varied()
    tokens = receive(received, gain, variance)
    estimates = received * gain.conj() / (np.abs(gain) ** 2 + variance)
    np.testing.assert_allclose(tokens.symbols / (1 + tokens.noise_variance), estimates, rtol=1e-4, atol=1e-6)
    assert not tokens.symbols[1, :2].any()
    error = np.mean(variance / (np.abs(gain) ** 2 + variance))
    assert tokens.noise_variance == pytest.approx(error / (1 - error), rel=1e-5)


def test_zero_forcing_divides_and_takes_the_mean_variance():
    received, gain, variance = varied()
    tokens = receive(received, gain, variance, "zf")
    there = gain != 0
    np.testing.assert_allclose(tokens.symbols[there], (received / np.where(there, gain, 1))[there], rtol=1e-4)
    assert not tokens.symbols[~there].any()
    expected = np.where(there, variance / np.where(there, np.abs(gain) ** 2, 1), 1).mean()
    assert tokens.noise_variance == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("equaliser", ["mmse", "zf"])
@pytest.mark.parametrize("variance", [0.0, 0.1])
def test_a_frame_of_which_nothing_arrived_is_zeros(equaliser, variance):
    tokens = receive(SYMBOLS, np.zeros((1, 2), np.complex64), variance, equaliser)
    assert not tokens.symbols.any()
    assert 1 <= tokens.noise_variance < np.finfo(np.float32).max


@pytest.mark.parametrize(
    ("gain", "variance", "says"),
    [
        (np.array([[1, np.nan]], np.complex64), 0.1, "gain must be finite, got .*nan"),
        (1 + 0j, np.array([[0.1, -0.2]], np.float32), "variance must be finite and >= 0, got -0.2"),
        (1 + 0j, np.array([[0.1, np.inf]], np.float32), "variance must be finite and >= 0, got inf"),
    ],
)
def test_one_that_cannot_be_is_enough(gain, variance, says):
    with pytest.raises(InvalidFrameError, match=says):
        receive(SYMBOLS, gain, variance)
