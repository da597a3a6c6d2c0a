"""Uncoded QPSK through every model against its closed form, at three SNRs and two seeds.

At the SNR g each bit of a symbol that meets the gain h is wrong with probability ``Q(sqrt(g |h|^2))``.
"""

import math

import numpy as np
import pytest

from channel.models.gilbert_elliott import GilbertElliott
from tests.channel.models.theory import assert_mean, at_three_snrs, averaged, error_shares, q, with_two_seeds


def linear(snr_db: float) -> float:
    return float(10 ** (snr_db / 10))


def awgn(snr: float) -> float:
    return float(q(math.sqrt(snr)))


def rician(snr: float, k: float) -> float:
    """The mean of Q(sqrt(g |h|^2)) over the moment-generating function of |h|^2 (Simon and Alouini, 2005, eq. 8.102).

    ``Q(x) = (1/pi) integral from 0 to pi/2 of exp(-x^2 / (2 sin^2 t)) dt`` and ``E[exp(s |h|^2)] =
    (1 + K) / (1 + K - s) exp(K s / (1 + K - s))``; the midpoint rule.
    """
    angle = (np.arange(10_000) + 0.5) * (math.pi / 2 / 10_000)
    s = -snr / (2 * np.sin(angle) ** 2)
    return float(np.mean((1 + k) / (1 + k - s) * np.exp(k * s / (1 + k - s))) / 2)


def rayleigh(snr: float) -> float:
    return 0.5 * (1 - math.sqrt(snr / (2 + snr)))


def test_rician_without_a_line_of_sight_is_rayleigh_and_with_nothing_else_awgn() -> None:
    assert rician(3.0, 0.0) == pytest.approx(rayleigh(3.0), rel=1e-6)
    assert rician(3.0, 1e7) == pytest.approx(awgn(3.0), rel=1e-5)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("coherence", [0, 1, 5])
def test_rayleigh_in_blocks_and_fast(snr_db: float, seed: int, coherence: int) -> None:
    assert_mean(error_shares(f"rayleigh:coherence={coherence}", snr_db, seed), rayleigh(linear(snr_db)))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize(("k_db", "coherence"), [(-3, 0), (3, 1), (8, 5)])
def test_rician_in_blocks_and_fast(snr_db: float, seed: int, k_db: float, coherence: int) -> None:
    shares = error_shares(f"rician:k_db={k_db},coherence={coherence}", snr_db, seed)
    assert_mean(shares, rician(linear(snr_db), linear(k_db)))


@with_two_seeds
@at_three_snrs
def test_jakes_is_rayleigh_at_any_moment(snr_db: float, seed: int) -> None:
    assert_mean(error_shares("jakes:doppler=0.05", snr_db, seed, frames=600), rayleigh(linear(snr_db)))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("model", ["ofdm", "ofdm:taps=8,decay_db=0,subcarriers=16"])
def test_every_subcarrier_is_rayleigh(snr_db: float, seed: int, model: str) -> None:
    assert_mean(error_shares(model, snr_db, seed), rayleigh(linear(snr_db)))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize(("share", "length", "drop_db"), [(0.1, 10, 20), (0.3, 3, 6)])
def test_bursts_mix_two_states(snr_db: float, seed: int, share: float, length: float, drop_db: float) -> None:
    good, bad = GilbertElliott(share, length, drop_db).variances(snr_db)
    assert (1 - share) * good + share * bad == pytest.approx(1 / linear(snr_db))
    shares = error_shares(f"gilbert_elliott:share={share},length={length},drop_db={drop_db}", snr_db, seed)
    assert_mean(shares, (1 - share) * awgn(1 / good) + share * awgn(1 / bad))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("share", [0.05, 0.4])
def test_of_what_is_erased_half_the_bits_are_wrong(snr_db: float, seed: int, share: float) -> None:
    expected = share / 2 + (1 - share) * awgn(linear(snr_db))
    assert_mean(error_shares(f"erasure:share={share}", snr_db, seed), expected)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("rms_deg", [5, 20])
def test_phase_noise_leaks_between_the_two_bits(snr_db: float, seed: int, rms_deg: float) -> None:
    """Turned by phi, a bit has the amplitude ``sqrt(1/2) (cos phi + sin phi)``, or with minus, which is as likely."""
    root = math.sqrt(linear(snr_db))
    expected = averaged(lambda phi: q(root * (np.cos(phi) + np.sin(phi))), math.radians(rms_deg))
    assert_mean(error_shares(f"phase_noise:rms_deg={rms_deg}", snr_db, seed), expected)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("level_db", [-3, 3])
def test_clipping_takes_power_from_a_constant_envelope(snr_db: float, seed: int, level_db: float) -> None:
    expected = awgn(linear(snr_db) * min(1.0, linear(level_db)))
    assert_mean(error_shares(f"clipping:level_db={level_db}", snr_db, seed), expected)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("csi", ["perfect", "none"])
def test_awgn_of_which_there_is_nothing_to_know(snr_db: float, seed: int, csi: str) -> None:
    assert_mean(error_shares("awgn", snr_db, seed, csi), awgn(linear(snr_db)))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize(
    ("model", "csi", "pilots"),
    [
        ("rayleigh", "pilots", 1),
        ("rayleigh", "pilots:count=4", 4),
        ("rayleigh:coherence=10", "pilots:count=2,every=8", 2),
        ("rayleigh:coherence=4", "pilots:count=3,every=1", 3),
    ],
)
def test_an_estimated_gain_costs_what_proakis_says(snr_db: float, seed: int, model: str, csi: str, pilots: int) -> None:
    """y and the estimate are Gaussian of correlation ``c = x r``, ``r = 1 / sqrt((1 + N0) (1 + N0/P))``.

    The real part of one times the other's conjugate is negative with probability
    ``(1 - Re c / sqrt(1 - (Im c)^2)) / 2`` (Proakis, Digital Communications, appendix B, of order 1).
    """
    noise = 1 / linear(snr_db)
    half = 0.5 / ((1 + noise) * (1 + noise / pilots))
    expected = 0.5 * (1 - math.sqrt(half / (1 - half)))
    assert_mean(error_shares(model, snr_db, seed, csi), expected)
