"""One complex gain per subcarrier is what a delay line and a cyclic prefix come to."""

import numpy as np
import pytest

from channel.models.ofdm import Ofdm
from channel.realisation import apply, side_generator
from tests.channel.models.theory import assert_mean, qpsk, with_two_seeds


@pytest.mark.parametrize("model", [Ofdm(), Ofdm(1, 0.0, 8), Ofdm(16, 1.0, 16)])
def test_a_delay_line_with_a_cyclic_prefix_gives_the_same(model: Ofdm) -> None:
    """Transform, prefix, convolve sample by sample, drop the prefix, transform back."""
    size, prefix = model.subcarriers, model.taps - 1
    taps = model.draw_taps(side_generator(np.random.default_rng(6)))
    drawn = model.draw((3, size), 10.0, np.random.default_rng(6))
    sent = qpsk((3, size), np.random.default_rng(0))[1]
    samples = np.fft.ifft(sent, axis=1)
    line = np.concatenate([samples[:, size - prefix :], samples], axis=1).ravel()
    heard = np.convolve(line, taps)[: line.size].reshape(3, -1)[:, prefix:]
    received = np.fft.fft(heard, axis=1) + drawn.noise
    np.testing.assert_allclose(apply(sent, drawn), received, atol=1e-5)
    np.testing.assert_allclose((received - drawn.noise) / np.asarray(drawn.gain), sent, atol=1e-3)


@with_two_seeds
@pytest.mark.parametrize("model", [Ofdm(), Ofdm(8, 0.0, 32), Ofdm(2, 10.0, 12)])
def test_taps_have_the_profiles_powers_and_subcarriers_unit_power(model: Ofdm, seed: int) -> None:
    generator = np.random.default_rng(seed)
    taps = np.array([model.draw_taps(generator) for _ in range(4000)])
    assert model.powers().sum() == pytest.approx(1.0)
    for tap, power in zip(taps.T, model.powers(), strict=True):
        assert_mean(np.abs(tap) ** 2, power)
    gains = np.array([model.draw((model.subcarriers,), 10.0, generator).gain for _ in range(2000)])
    assert_mean(np.abs(gains[:, 0]) ** 2, 1.0)
    # The correlation of two subcarriers is the transform of the powers.
    distance = model.subcarriers // 4
    expected = np.sum(model.powers() * np.exp(-2j * np.pi * np.arange(model.taps) * distance / model.subcarriers))
    products = gains[:, distance] * gains[:, 0].conj()
    assert_mean(products.real, expected.real)
    assert_mean(products.imag, expected.imag)


def test_symbols_take_one_subcarrier_after_the_other() -> None:
    gain = np.asarray(Ofdm(4, 3.0, 8).draw((3, 6), 10.0, np.random.default_rng(0)).gain).ravel()
    assert np.array_equal(gain[8:16], gain[:8])
    assert np.array_equal(gain[16:], gain[:2])
