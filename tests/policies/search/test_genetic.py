"""NSGA-II, replayed from the trials alone."""

import numpy as np
import pytest
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.optimize import minimize

from policies.search.genetic import GeneticSearch
from policies.search.known import observe
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError
from tests.policies.search import toy

GENERATIONS = 6


class _Toy(Problem):
    def __init__(self, space):
        super().__init__(n_var=space.dimensions, n_obj=3, xl=0.0, xu=1.0)
        self.space, self.asked = space, []

    def _evaluate(self, x, out, *args, **kwargs):
        policies = [self.space.policy(point) for point in x]
        self.asked += policies
        utilities = [toy.scale().utilities(toy.measure(policy).objectives) for policy in policies]
        out["F"] = -np.array(utilities)


def played(strategy, evaluations):
    trials = []
    for _ in range(evaluations):
        trials.append(toy.measure(strategy.suggest(observe(trials, toy.scale()), []).policy))
    return trials


def test_it_tries_what_an_uninterrupted_run_tries():
    problem = _Toy(toy.space())
    minimize(problem, NSGA2(pop_size=8), ("n_gen", GENERATIONS), seed=5, verbose=False)
    expected = list(dict.fromkeys(problem.asked))
    # A new strategy for every suggestion has nothing to remember.
    trials = []
    while len(trials) < len(expected):
        fresh = GeneticSearch(toy.space(), 3, seed=5, population=8)
        trials.append(toy.measure(fresh.suggest(observe(trials, toy.scale()), []).policy))
    assert [one.policy for one in trials] == expected


def test_what_others_tried_does_not_disturb_it():
    strategy = GeneticSearch(toy.space(), 3, seed=5, population=8)
    trials = played(strategy, 20)
    foreign = toy.measure(toy.space().policy(np.full(8, 0.123)))
    with_it = observe([*trials[:3], foreign, *trials[3:]], toy.scale())
    assert strategy.suggest(with_it, []) == strategy.suggest(observe(trials, toy.scale()), [])


def test_it_waits_for_a_generation():
    strategy = GeneticSearch(toy.space(), 3, seed=5, population=4)
    pending = []
    while (suggestion := strategy.suggest([], pending)) is not None:
        assert suggestion.source == "nsga2"
        pending.append(suggestion.policy)
    assert len(set(pending)) == 4
    observed = observe([toy.measure(policy) for policy in pending], toy.scale())
    assert strategy.suggest(observed[:3], pending[3:]) is None
    assert strategy.suggest(observed, []).policy not in pending
    assert strategy.length_scales(observed) is None


def test_a_space_of_two_policies_is_exhausted():
    space = SearchSpace.box([0.5], [0.5], [8])
    strategy = GeneticSearch(space, 3, seed=0, population=4)
    observed = observe([toy.measure(space.policy(np.array([place]))) for place in (0.1, 0.99)], toy.scale(1))
    with pytest.raises(ExhaustedError):
        strategy.suggest(observed, [])
