"""NSGA-II (Deb et al., 2002), by pymoo."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.core.termination import NoTermination

from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError, Observation, Suggestion

# As many generations in a row without a new policy mean that the population has converged.
MOST_GENERATIONS = 200


@dataclass(frozen=True)
class GeneticSearch:
    """NSGA-II over the points of a space.

    It keeps no state: for each suggestion the algorithm is run again from its seed, and what was tried answers for
    itself. That costs milliseconds, and makes a search resume by nothing but its trials.

    Attributes:
        space: where to search.
        objectives: how many there are.
        seed: of the first population and the variation.
        population: members of a generation.
    """

    space: SearchSpace
    objectives: int
    seed: int
    population: int = 10

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion | None:
        """See `policies.search.strategy.Strategy`; it waits for a whole generation."""
        known = {observation.policy.digest: observation.utilities for observation in observed}
        waited_for = {policy.digest for policy in pending}
        dimensions = self.space.dimensions
        problem = Problem(n_var=dimensions, n_obj=self.objectives, xl=np.zeros(dimensions), xu=np.ones(dimensions))
        algorithm: Any = NSGA2(pop_size=self.population)
        algorithm.setup(problem, seed=self.seed, termination=NoTermination(), verbose=False)
        met: set[str] = set()
        idle = 0
        while idle < MOST_GENERATIONS:
            population = algorithm.ask()
            policies = [self.space.policy(point) for point in population.get("X")]
            missing = [policy for policy in policies if policy.digest not in known]
            if missing:
                free = next((policy for policy in missing if policy.digest not in waited_for), None)
                return None if free is None else Suggestion(free, "nsga2")
            # pymoo minimises.
            population.set("F", -np.array([known[policy.digest] for policy in policies]))
            algorithm.tell(infills=population)
            digests = {policy.digest for policy in policies}
            idle = idle + 1 if digests <= met else 0
            met |= digests
        raise ExhaustedError

    def length_scales(self, observed: Sequence[Observation]) -> None:
        """See `policies.search.strategy.Strategy`."""
