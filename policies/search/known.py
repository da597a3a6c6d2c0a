"""What a search knows: the trials of a study, as its strategy is told them."""

from collections.abc import Sequence

import numpy as np

from policies.pareto import hypervolume, non_dominated
from policies.policy import MeasuredPolicy
from policies.search.objectives import Scale
from policies.search.strategy import Observation
from policies.study import Trial

# The source of a trial that no strategy proposed for its study: it came along with one that a strategy did.
SHARED = "shared"
# The most of those that a strategy is told beside its own: its model's cost grows with the cube of all.
MOST_SHARED = 100


def observe(measured: Sequence[MeasuredPolicy], scale: Scale) -> list[Observation]:
    """Trials as a strategy sees them.

    Raises:
        InvalidRequestError: an objective was not measured.
    """
    return [
        Observation(one.policy, scale.utilities(one.objectives), scale.variances(one.objectives)) for one in measured
    ]


class Known:
    """What a study holds, as its strategy is told.

    Attributes:
        tried: what was proposed, for this study or another, in order: the first of each vector of thresholds at least.
        useful: of what came along, what nothing in the study dominates.
        others: the rest, by digest.
    """

    def __init__(self, trials: Sequence[Trial], scale: Scale) -> None:
        thresholds: set[tuple[float, ...]] = set()
        tried: list[MeasuredPolicy] = []
        along: list[MeasuredPolicy] = []
        for trial in trials:
            policy = trial.measured.policy
            is_proposal = trial.source != SHARED or policy.thresholds not in thresholds
            (tried if is_proposal else along).append(trial.measured)
            thresholds.add(policy.thresholds)
        self.tried, shared = observe(tried, scale), observe(along, scale)
        self.useful = _front(self.tried, shared)
        kept = {one.policy.digest for one in self.useful}
        self.others = {one.policy.digest: one for one in shared if one.policy.digest not in kept}

    def hypervolume(self) -> float:
        """Of all that the study holds; what is dominated adds nothing."""
        return hypervolume([one.utilities for one in (*self.tried, *self.useful)])


def _front(tried: Sequence[Observation], shared: Sequence[Observation]) -> list[Observation]:
    """What is on the front of all and was not tried, thinned out evenly over the last objective."""
    if not shared:
        return []
    table = np.stack([one.utilities for one in (*tried, *shared)])
    marked = non_dominated(table, [True] * table.shape[1]) & (table > 0).all(axis=1)
    useful = [one for one, is_useful in zip(shared, marked[len(tried) :], strict=True) if is_useful]
    if len(useful) <= MOST_SHARED:
        return useful
    useful.sort(key=lambda one: float(one.utilities[-1]))
    return [useful[place] for place in np.linspace(0, len(useful) - 1, MOST_SHARED).round().astype(int)]
