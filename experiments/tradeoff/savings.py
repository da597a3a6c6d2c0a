"""What a searched front saves against simpler ways, chosen on *select* and judged on images that chose nothing.

Every family chooses as its user would have to: on *select*. Whoever picks the best of two hundred baselines on the test
images themselves picks their luck with them, and the larger a family, the luckier its best.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from policies.pareto import non_dominated
from policies.record import Objectives

# A member that loses more is of no interest to anybody.
MOST_LOST = 0.03

Cost = Callable[[Objectives], float]


def channel_uses(figures: Objectives) -> float:
    """Mean channel uses."""
    return figures.channel_uses


def edge_gmacs(figures: Objectives) -> float:
    """10^9 MACs on the device."""
    return figures.edge_gmacs


@dataclass(frozen=True)
class Judged:
    """A policy or a baseline, as measured on *select* and on the test images."""

    select: Objectives
    test: Objectives


@dataclass(frozen=True)
class Saving:
    """What a front saves of one cost against the best members of a family.

    Attributes:
        members: how many these are.
        beaten: against how many it saves something.
        share: mean share of the cost that is saved, on the test images; one that no policy beats counts as 0.
        gained: mean of what that choice gains in accuracy on the test images.
    """

    members: int
    beaten: int
    share: float
    gained: float


def best_of(select: Sequence[Objectives]) -> list[int]:
    """Indices of those that no other dominates in accuracy, uses and compute, and that lose at most `MOST_LOST`."""
    near = [index for index, one in enumerate(select) if one.accuracy_change >= -MOST_LOST]
    if not near:
        return []
    figures = np.array([(one.accuracy, one.channel_uses, one.edge_gmacs) for one in (select[index] for index in near)])
    return [index for index, keep in zip(near, non_dominated(figures, (True, False, False)), strict=True) if keep]


def saving(front: Sequence[Judged], best: Sequence[Judged], cost: Cost, other: Cost) -> Saving | None:
    """What a front saves of a cost where it is, on *select*, as accurate as a family's best; None if that has none.

    For each of these the cheapest policy is taken that is as accurate, or as the unmerged reference if that is less
    (what lies above it is luck, and nobody asks for it), and costs no more of the ``other``; where there is none, the
    family wins: nothing is saved, which counts.
    """
    if not best:
        return None
    shares, gained = [], []
    for one in best:
        able = [
            policy
            for policy in front
            if policy.select.accuracy_change >= min(0.0, one.select.accuracy_change)
            and other(policy.select) <= other(one.select)
            and cost(policy.select) < cost(one.select)
        ]
        chosen = min(able, key=lambda policy: cost(policy.select), default=one)
        shares.append(1 - cost(chosen.test) / cost(one.test))
        gained.append(chosen.test.accuracy - one.test.accuracy)
    beaten = sum(share > 0 for share in shares)
    return Saving(len(best), beaten, float(np.mean(shares)), float(np.mean(gained)))


def cheapest(select: Sequence[Objectives], loss: float, cost: Cost) -> int | None:
    """Index of the member of least cost within a loss of accuracy; of equally cheap ones the most accurate."""
    near = [index for index, one in enumerate(select) if one.accuracy_change >= -loss]
    return min(near, key=lambda index: (cost(select[index]), -select[index].accuracy), default=None)


def share_of(unmerged: Objectives) -> Cost:
    """The cost of the paper's headline: shares of compute and of tokens, so that neither is bought with the other."""
    return lambda figures: figures.edge_gmacs / unmerged.edge_gmacs + figures.tokens / unmerged.tokens
