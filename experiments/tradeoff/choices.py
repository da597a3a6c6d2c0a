"""Which member of a family its user takes, by what *select* says of it, and what a front saves."""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from policies.pareto import non_dominated
from policies.policy import Objectives

# A member that loses more is of no interest to anybody.
MOST_LOST = 0.03

Cost = Callable[[Objectives], float]
CHANNEL_USES: Cost = attrgetter("channel_uses")
EDGE_GMACS: Cost = attrgetter("edge_gmacs")

# What policies and baselines gave on one split, by their names.
Figures = Mapping[str, Objectives]


def most_accurate(select: Figures, budget: float, cost: Cost) -> str | None:
    """The most accurate member within a budget; None if none is."""
    fitting = [name for name, one in select.items() if cost(one) <= budget]
    return max(fitting, key=lambda name: select[name].accuracy, default=None)


def cheapest(select: Figures, loss: float, cost: Cost) -> str | None:
    """The member of least cost within a loss of accuracy, of equally cheap ones the most accurate; None if none is."""
    near = [name for name, one in select.items() if one.accuracy_change >= -loss]
    return min(near, key=lambda name: (cost(select[name]), -select[name].accuracy), default=None)


def best_of(select: Figures) -> list[str]:
    """Those that no other dominates in accuracy, uses and compute, and that lose at most `MOST_LOST`."""
    near = {name: one for name, one in select.items() if one.accuracy_change >= -MOST_LOST}
    figures = np.array([(one.accuracy, one.channel_uses, one.edge_gmacs) for one in near.values()]).reshape(-1, 3)
    return [name for name, keep in zip(near, non_dominated(figures, (True, False, False)), strict=True) if keep]


class Saving(NamedTuple):
    """What a front saves of one cost against the best members of a family.

    Attributes:
        share: mean share of the cost that is saved, on the test images, in %; one that no policy beats counts as 0.
        beaten: against how many members it saves something.
        gained: mean of what that choice gains in accuracy on the test images, in points.
    """

    share: float | None = None
    beaten: int | None = None
    gained: float | None = None


def saving(
    front: Sequence[str], best: Sequence[str], select: Figures, test: Figures, cost: Cost, other: Cost
) -> Saving:
    """What a front saves of a cost where it is, on *select*, as accurate as a family's best; nothing if that has none.

    For each of these the cheapest policy is taken that is as accurate, or as the unmerged reference if that is less
    (what lies above it is luck, and nobody asks for it), and costs no more of the ``other``; where there is none, the
    family wins: nothing is saved, which counts.
    """
    if not best:
        return Saving()
    shares, gained = [], []
    for name in best:
        one = select[name]
        able = [
            policy
            for policy in front
            if select[policy].accuracy_change >= min(0.0, one.accuracy_change)
            and other(select[policy]) <= other(one)
            and cost(select[policy]) < cost(one)
        ]
        chosen = min(able, key=lambda policy: cost(select[policy]), default=name)
        # A picture that is sent as it is costs no compute, of which there is no share.
        shares.append(0.0 if chosen == name else 1 - cost(test[chosen]) / cost(test[name]))
        gained.append(test[chosen].accuracy - test[name].accuracy)
    return Saving(100 * float(np.mean(shares)), sum(share > 0 for share in shares), 100 * float(np.mean(gained)))


def share_of(unmerged: Objectives) -> Cost:
    """The cost of the paper's headline: shares of compute and of tokens, so that neither is bought with the other."""
    return lambda figures: figures.edge_gmacs / unmerged.edge_gmacs + figures.tokens / unmerged.tokens
