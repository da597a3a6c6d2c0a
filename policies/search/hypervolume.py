"""How much of the space of objectives a set of policies dominates."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from policies.pareto import non_dominated


def hypervolume(utilities: Sequence[NDArray[np.float64]]) -> float:
    """The volume between the reference point, 0, and what these utilities dominate; 1 is the ideal alone.

    By slicing along one objective after the other: without BoTorch, which no process that only measures should load.

    Args:
        utilities: one row of two or more per policy; see `policies.search.objectives.Scale`. What is worse than the
            reference point in any objective adds nothing.
    """
    rows = np.array([row for row in utilities if (np.asarray(row) > 0).all()])
    if not len(rows):
        return 0.0
    return _volume(rows[non_dominated(rows, [True] * rows.shape[1])])


def _volume(rows: NDArray[np.float64]) -> float:
    """The volume of the union of the boxes from 0 to each row."""
    rows = rows[np.argsort(-rows[:, -1])]
    depths = -np.diff(rows[:, -1], append=0.0)
    if rows.shape[1] == 2:
        return float(depths @ np.maximum.accumulate(rows[:, 0]))
    return sum(float(depth) * _volume(rows[: end + 1, :-1]) for end, depth in enumerate(depths) if depth > 0)
