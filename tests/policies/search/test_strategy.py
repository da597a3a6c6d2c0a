"""The strategies that learn nothing, and what all have in common."""

from itertools import islice

import numpy as np
import pytest

from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.search.strategy import (
    ExhaustedError,
    Observation,
    RandomSearch,
    SobolSearch,
    first_new,
    sobol_points,
    start_points,
)
from tests.policies.search import toy

STRATEGIES = [RandomSearch, SobolSearch]


def observed(policies):
    return [Observation(policy, np.full(3, 0.5), np.zeros(3)) for policy in policies]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_seed_and_trials_give_the_same_policies(strategy):
    first, second, other = strategy(toy.space(), 3), strategy(toy.space(), 3), strategy(toy.space(), 4)
    tried = []
    for _ in range(10):
        suggestion = first.suggest(observed(tried), [])
        # What is pending counts like what is known.
        assert second.suggest(observed(tried[:4]), tried[4:]) == suggestion
        tried.append(suggestion.policy)
    assert len(set(tried)) == 10
    assert other.suggest([], []).policy != tried[0]
    assert first.length_scales(observed(tried)) is None


def test_the_sources_have_names():
    assert RandomSearch(toy.space(), 0).suggest([], []).source == "random"
    assert SobolSearch(toy.space(), 0).suggest([], []).source == "sobol"


def test_sobol_fills_every_half_of_every_coordinate():
    space = toy.space()
    strategy, tried = SobolSearch(space, 0), []
    for _ in range(16):
        tried.append(strategy.suggest(observed(tried), []).policy)
    thresholds = np.array([policy.thresholds for policy in tried])
    np.testing.assert_array_equal((thresholds < 0.5 / 0.95).sum(axis=0), 8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_space_of_two_policies_is_soon_exhausted(strategy):
    # The one threshold, or none.
    searching = strategy(SearchSpace.box([0.5], [0.5], [8]), 0)
    first = searching.suggest([], []).policy
    second = searching.suggest(observed([first]), []).policy
    assert {first, second} == {Policy.create((0.5,), 8), Policy.create((1.0,), 8)}
    with pytest.raises(ExhaustedError):
        searching.suggest(observed([first]), [second])


def test_the_first_new_policy_of_points_that_mean_the_same():
    space = SearchSpace.box([0.0], [1.0], [8])
    points = (np.array([value]) for value in (0.99, 0.98, 0.97, 0.475, 0.2))
    policy = first_new(space, points, observed([Policy.create((1.0,), 8)]), [])
    assert policy.thresholds == (0.5,)


@pytest.mark.parametrize(("layers", "is_spread"), [(6, False), (12, True)])
def test_a_model_of_many_layers_begins_with_little_and_with_much_merging(layers, is_spread):
    space = SearchSpace.box([0.0] * layers, [1.0] * layers, [2, 4, 8], [4, None])
    first = np.stack(list(islice(start_points(space, 3), 30)))
    plain = np.stack(list(islice(sobol_points(space.dimensions, 3), 30)))
    assert ((first >= 0) & (first <= 1)).all()
    np.testing.assert_array_equal(first[:, layers:], plain[:, layers:])
    means = np.sort(first[:, :layers].mean(1))
    if is_spread:
        assert means[0] < 0.6
        assert means[-1] > 0.95
        assert np.diff(means).max() < 0.1
    else:
        np.testing.assert_array_equal(first, plain)
