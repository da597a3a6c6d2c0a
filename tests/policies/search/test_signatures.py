"""Each sign of a search that stands still, by trials made for it."""

import numpy as np
import pytest

from policies.policy import Policy
from policies.search import guard
from policies.search.guard import WINDOW, Stagnation, stagnation
from policies.search.space import SearchSpace
from policies.search.strategy import Observation

SPACE = SearchSpace.box([0.0, 0.0], [1.0, 1.0], [8])
SPREAD = [(index * 0.61803 % 0.9, index * 0.75487 % 0.9) for index in range(2 * WINDOW)]


def observed(thresholds, utilities):
    return [
        Observation(Policy.create(pair, 8), np.array(utility), np.zeros(2))
        for pair, utility in zip(thresholds, utilities, strict=True)
    ]


def growing(n):
    """The volume grows with every trial."""
    return [(0.5 + index / 100, 0.5) for index in range(n)]


def no_model(_):
    return None


def flat(n):
    return [(0.5, 0.5)] * n


def test_a_search_that_gets_on_shows_no_sign():
    verdict = stagnation(SPACE, observed(SPREAD, growing(len(SPREAD))), no_model)
    assert verdict == Stagnation(0, False, ())
    assert not verdict.is_stagnant
    assert str(verdict) == "none"


def test_too_few_trials_are_not_judged():
    assert stagnation(SPACE, observed(SPREAD[:-1], flat(len(SPREAD) - 1)), no_model) == Stagnation(0, False, ())


def test_a_volume_at_rest_alone_does_not_mean_stagnation():
    verdict = stagnation(SPACE, observed(SPREAD, flat(len(SPREAD))), no_model)
    assert verdict == Stagnation(0, True, ())
    assert not verdict.is_stagnant


def test_a_volume_that_nothing_has_is_at_rest():
    assert stagnation(SPACE, observed(SPREAD, [(-1.0, 0.5)] * len(SPREAD)), no_model).resting


@pytest.mark.parametrize(("apart", "repeats"), [(0.004, WINDOW), (0.02, 0)])
def test_trials_beside_earlier_ones_are_counted(apart, repeats):
    beside = [(first + apart, second) for first, second in SPREAD[:WINDOW]]
    verdict = stagnation(SPACE, observed(SPREAD[:WINDOW] + beside, flat(2 * WINDOW)), no_model)
    assert verdict.repeats == repeats
    assert verdict.is_stagnant == (repeats > 0)


def test_repeats_of_a_search_that_still_gains_are_no_stagnation():
    beside = [(first + 0.004, second) for first, second in SPREAD[:WINDOW]]
    assert not stagnation(SPACE, observed(SPREAD[:WINDOW] + beside, growing(2 * WINDOW)), no_model).is_stagnant


@pytest.mark.parametrize(
    ("scales", "bounded"),
    [
        ([[0.025, 0.025], [0.5, 1.0]], (0,)),
        ([[0.3, 0.025], [900.0, 2000.0]], (1,)),
        ([[0.025, 900.0], [0.025, 0.025]], (0, 1)),
        ([[0.3, 900.0], [0.5, 0.5]], ()),
    ],
)
def test_length_scales_at_their_bounds_are_named(scales, bounded):
    verdict = stagnation(SPACE, observed(SPREAD, flat(len(SPREAD))), lambda _: np.array(scales))
    assert verdict.bounded == bounded
    assert verdict.is_stagnant == bool(bounded)


def test_no_model_is_fitted_for_a_search_that_gains():
    def never(_):
        raise AssertionError("it costs a fit")

    stagnation(SPACE, observed(SPREAD, growing(len(SPREAD))), never)


def test_the_signs_are_told_in_words():
    told = str(Stagnation(7, True, (0, 2)))
    assert told == (
        f"7 of the last {guard.WINDOW} trials lie next to earlier ones; the hypervolume is at rest; "
        "the length scales of objective 0 are at their bounds; the length scales of objective 2 are at their bounds"
    )
