"""How much of the space of objectives a set of policies dominates."""

from collections.abc import Sequence

import numpy as np
import torch
from botorch.utils.multi_objective.hypervolume import Hypervolume
from numpy.typing import NDArray

from policies.pareto import non_dominated


def hypervolume(utilities: Sequence[NDArray[np.float64]]) -> float:
    """The volume between the reference point, 0, and what these utilities dominate; 1 is the ideal alone.

    Args:
        utilities: one row per policy; see `policies.search.objectives.Scale`. What is worse than the reference point in
            any objective adds nothing.
    """
    rows = np.array([row for row in utilities if (np.asarray(row) > 0).all()])
    if not len(rows):
        return 0.0
    front = rows[non_dominated(rows, [True] * rows.shape[1])]
    return float(Hypervolume(torch.zeros(rows.shape[1], dtype=torch.double)).compute(torch.from_numpy(front)))
