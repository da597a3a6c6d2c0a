"""From what the channel delivered to what the decoder takes."""

import numpy as np
import pytest

from thinwire.errors import InvalidFrameError
from thinwire.reception import receive

SYMBOLS = np.array([[1 + 1j, -2j]], dtype=np.complex64)


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
