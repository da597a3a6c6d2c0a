"""What arrives of a frame, and what its receiver is told."""

import math
from dataclasses import replace

import numpy as np
import pytest

from channel.models import registry
from channel.passage import carry
from channel.realisation import apply
from tests.channel.models.theory import assert_mean, at_three_snrs, qpsk, with_two_seeds
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import InvalidRequestError


def sent(tokens: int = 6, symbols_per_token: int = 8):
    return qpsk((tokens, symbols_per_token), np.random.default_rng(0))[1]


@pytest.mark.parametrize("model", ["rayleigh", "rayleigh:coherence=1", "gilbert_elliott", "clipping:level_db=-3"])
def test_perfect_csi_is_the_realisations_own(model: str) -> None:
    arrival = carry(sent(), Channel(model, 5.0), np.random.default_rng(3))
    drawn = registry.get(model).draw((6, 8), 5.0, np.random.default_rng(3))
    assert np.array_equal(arrival.symbols, apply(sent(), drawn))
    assert np.array_equal(arrival.gain, drawn.gain)
    assert np.array_equal(arrival.noise_variance, drawn.noise_variance)
    assert arrival.pilot_uses == 0


def test_without_csi_the_same_arrives_and_the_gain_is_taken_for_one() -> None:
    channel = Channel("gilbert_elliott", 5.0)
    arrival = carry(sent(), replace(channel, csi=Csi.parse("none")), np.random.default_rng(3))
    assert np.array_equal(arrival.symbols, carry(sent(), channel, np.random.default_rng(3)).symbols)
    assert (arrival.gain, arrival.pilot_uses) == (1, 0)
    assert arrival.noise_variance == pytest.approx(10**-0.5)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("pilots", [1, 4])
def test_the_error_of_least_squares_has_the_variance_n0_over_p(snr_db: float, seed: int, pilots: int) -> None:
    generator, channel = np.random.default_rng(seed), Channel("awgn", snr_db, Csi.parse(f"pilots:count={pilots}"))
    arrivals = [carry(sent(1, 1), channel, generator) for _ in range(3000)]
    errors = np.array([arrival.gain for arrival in arrivals]) - 1
    noise = 10 ** (-snr_db / 10)
    assert_mean(np.abs(errors) ** 2, noise / pilots)
    assert_mean(errors.real, 0.0)
    assert arrivals[0].noise_variance == pytest.approx(noise * (1 + 1 / pilots))


@pytest.mark.parametrize(
    ("csi", "coherence", "pilots"), [("pilots:count=2,every=5", 7, 20), ("pilots:every=1", 2, 48), ("pilots", 49, 1)]
)
def test_pilots_stand_ahead_of_each_block_and_take_their_time(csi: str, coherence: int, pilots: int) -> None:
    # Blocks as long as the fade's, pilots included: at 60 dB the estimates are the gains themselves.
    channel = Channel(f"rayleigh:coherence={coherence}", 60.0, Csi.parse(csi))
    arrival = carry(sent(), channel, np.random.default_rng(1))
    assert arrival.pilot_uses == pilots
    np.testing.assert_allclose(arrival.symbols / arrival.gain, sent(), atol=0.05)
    assert np.unique(arrival.gain).size == math.ceil((48 + pilots) / coherence)


@pytest.mark.parametrize("csi", ["pilots:count=3,every=48", "pilots:count=3,every=1000", "pilots:count=3"])
def test_a_block_may_be_longer_than_the_frame(csi: str) -> None:
    arrival = carry(sent(), Channel("rayleigh", 60.0, Csi.parse(csi)), np.random.default_rng(1))
    assert isinstance(arrival.gain, complex)
    assert arrival.pilot_uses == 3
    np.testing.assert_allclose(arrival.symbols / arrival.gain, sent(), atol=0.05)


def test_phase_noise_and_the_amplifier_meet_pilots_too() -> None:
    clipping = carry(sent(), Channel("clipping:level_db=-6", 60.0, Csi.parse("pilots")), np.random.default_rng(1))
    assert abs(clipping.gain) == pytest.approx(10 ** (-6 / 20), abs=0.01)
    noisy = carry(sent(), Channel("phase_noise:rms_deg=90", 60.0, Csi.parse("pilots")), np.random.default_rng(1))
    assert abs(np.angle(noisy.gain)) > 0.05


def test_more_pilots_than_memory_are_refused() -> None:
    symbols = np.ones((4096, 256), np.complex64)
    with pytest.raises(InvalidRequestError, match="67108864 pilots beside 1048576 symbols"):
        carry(symbols, Channel("awgn", 0.0, Csi.parse("pilots:count=64,every=1")), np.random.default_rng(0))
