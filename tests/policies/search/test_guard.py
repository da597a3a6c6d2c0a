"""What is done about a search that stands still, and that it follows from the trials alone."""

import numpy as np
import pytest

from policies.policy import Policy
from policies.search.guard import EXPLORATIONS, WINDOW, Guard
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError, Observation, RandomSearch, Suggestion

SPACE = SearchSpace.box([0.0, 0.0], [1.0, 1.0], [8])
START = 2 * WINDOW


class Stuck:
    """Goes on beside where it began."""

    space = SPACE

    def suggest(self, observed, pending):
        step = 1e-5 * (len(observed) + len(pending))
        return Suggestion(Policy.create((0.5 + step, 0.5), 8), "stuck")

    def length_scales(self, observed):
        return None


def played(guard, n, observed=(), utilities=lambda policy: (0.5, 0.5)):
    """So many trials of a flat objective, and where each came from."""
    observed, sources = list(observed), []
    while len(observed) < n:
        suggestion = guard.suggest(observed, [])
        sources.append(suggestion.source)
        observed.append(Observation(suggestion.policy, np.array(utilities(suggestion.policy)), np.zeros(2)))
    return observed, sources


def test_a_search_that_stands_still_explores_for_a_few_trials(caplog):
    observed, sources = played(Guard(Stuck()), START + 2 * WINDOW)
    explored = ["explore"] * EXPLORATIONS + ["stuck"] * (WINDOW - EXPLORATIONS)
    assert sources == ["stuck"] * START + explored + explored
    assert "the search stands still after 20 trials: 10 of the last 10 trials lie next to earlier ones" in caplog.text
    assert len([one for one in caplog.records if one.name.startswith("policies.")]) == 2
    points = np.stack([SPACE.point(one.policy) for one in observed])
    for index in range(START, START + EXPLORATIONS):
        nearest = np.abs(points[:index] - points[index]).max(axis=1).min()
        assert nearest > 0.2


def test_a_search_that_resumes_explores_where_it_would_have():
    whole, sources = played(Guard(Stuck()), START + WINDOW)
    for stopped in (START - 1, START, START + 3, START + EXPLORATIONS):
        again, rest = played(Guard(Stuck()), START + WINDOW, whole[:stopped])
        assert [one.policy for one in again] == [one.policy for one in whole]
        assert rest == sources[stopped:]


def test_it_is_spent_when_exploration_brought_nothing():
    guard = Guard(Stuck())
    observed, _ = played(guard, START + WINDOW)
    assert not guard.is_spent([])
    assert not guard.is_spent(observed[: START + WINDOW - 1])
    assert guard.is_spent(observed)
    assert guard.verdict(observed[: START - 1]) is None
    assert guard.verdict(observed).is_stagnant


def test_exploration_that_finds_something_goes_on():
    guard = Guard(Stuck())
    stuck, _ = played(guard, START)
    # Far from where it is stuck there is more to be had.
    observed, _ = played(
        guard, START + WINDOW, stuck, lambda policy: (0.9, 0.9) if policy.thresholds[1] != 0.5 else (0.5, 0.5)
    )
    assert not guard.verdict(observed).is_stagnant
    assert not guard.is_spent(observed)
    assert guard.suggest(observed, []).source == "stuck"


def test_what_is_pending_counts_as_explored():
    guard = Guard(Stuck())
    observed, _ = played(guard, START)
    pending = []
    for _ in range(EXPLORATIONS):
        suggestion = guard.suggest(observed, pending)
        assert suggestion.source == "explore"
        pending.append(suggestion.policy)
    assert len(set(pending)) == EXPLORATIONS
    assert guard.suggest(observed, pending).source == "stuck"


def test_a_search_at_rest_that_still_looks_around_is_left_alone():
    _, sources = played(Guard(RandomSearch(SPACE, 0)), START + 2 * WINDOW)
    assert set(sources) == {"random"}


def test_a_space_of_one_threshold_ends_when_all_is_tried():
    guard = Guard(RandomSearch(SearchSpace.box([0.5], [0.5], [8]), 0))
    observed, _ = played(guard, 2)
    with pytest.raises(ExhaustedError):
        guard.suggest(observed, [])
