"""Bursts have the length, the share and the noise that the parameters name."""

import numpy as np
import pytest
from numpy.typing import NDArray

from channel.models.gilbert_elliott import GilbertElliott
from tests.channel.models.theory import assert_mean, at_three_snrs, with_two_seeds

CHAINS = [(0.1, 10.0), (0.3, 2.0), (0.5, 50.0)]


def walk(model: GilbertElliott, uniform: NDArray[np.float64]) -> list[bool]:
    """The chain one step after the other."""
    end = 1 / model.length
    begin = end * model.share / (1 - model.share)
    states = [bool(uniform[0] < model.share)]
    for number in uniform[1:]:
        states.append(bool(number < (1 - end if states[-1] else begin)))
    return states


@pytest.mark.parametrize(("share", "length"), [*CHAINS, (0.0, 1.0), (0.5, 2.0), (0.2, 1.25)])
def test_states_are_those_of_the_chain(share: float, length: float) -> None:
    model = GilbertElliott(share, length)
    states = model.states(3000, np.random.default_rng(5))
    assert states.tolist() == walk(model, np.random.default_rng(5).random(3000))


@with_two_seeds
@pytest.mark.parametrize(("share", "length"), CHAINS)
def test_the_stationary_share_from_the_first_symbol_on(share: float, length: float, seed: int) -> None:
    model, generator = GilbertElliott(share, length), np.random.default_rng(seed)
    frames = np.array([model.states(100, generator) for _ in range(4000)])
    assert_mean(frames.mean(axis=1), share)
    assert_mean(frames[:, 0].astype(float), share)
    assert_mean(frames[:, 99].astype(float), share)


@with_two_seeds
@pytest.mark.parametrize(("share", "length"), CHAINS)
def test_the_mean_length_of_a_burst_and_of_the_pause_between(share: float, length: float, seed: int) -> None:
    states = GilbertElliott(share, length).states(400_000, np.random.default_rng(seed)).astype(np.int8)
    changes = np.flatnonzero(np.diff(states)) + 1
    runs = np.diff(changes).astype(float)
    # The runs between the first and the last change are whole, and alternate.
    first_is_bad = bool(states[changes[0]])
    assert_mean(runs[not first_is_bad :: 2], length)
    assert_mean(runs[first_is_bad::2], length * (1 - share) / share)


@with_two_seeds
@at_three_snrs
def test_the_noise_of_each_state_and_of_both_together(snr_db: float, seed: int) -> None:
    model = GilbertElliott(0.2, 5.0, 10.0)
    # Two thousand frames, since neighbours share their state.
    generator = np.random.default_rng(seed)
    drawn = [model.draw((50,), snr_db, generator) for _ in range(2000)]
    noise = np.abs(np.array([one.noise for one in drawn])) ** 2
    told = np.array([one.noise_variance for one in drawn])
    good, bad = model.variances(snr_db)
    assert bad == pytest.approx(10 * good)
    np.testing.assert_allclose(np.unique(told), [good, bad], rtol=1e-6)
    assert_mean(noise[told > (good + bad) / 2], bad)
    assert_mean(noise[told < (good + bad) / 2], good)
    assert_mean(noise.mean(axis=1), 10 ** (-snr_db / 10))
