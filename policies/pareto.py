"""Which rows of a table of objectives no other row dominates, and how much of their space they dominate."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import InvalidRequestError


def non_dominated(objectives: NDArray[np.float64], maximise: Sequence[bool]) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates: is at least as good everywhere and better somewhere.

    Args:
        objectives: an ``n x m`` array, one row per candidate.
        maximise: for each of the m columns, whether more is better.

    Returns:
        a mask of n booleans; of equal rows only the first is marked.

    Raises:
        InvalidRequestError: the shape is not ``n x m``, or a value is NaN.
    """
    values = np.asarray(objectives, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(maximise) or not maximise:
        raise InvalidRequestError(f"expected an n x {len(maximise)} array of objectives, got shape {values.shape}")
    if np.isnan(values).any():
        raise InvalidRequestError("objectives must not be NaN: it compares with nothing")
    gains = np.where(np.asarray(maximise, dtype=bool), values, -values)
    mask = np.zeros(len(gains), dtype=np.bool_)
    _, first = np.unique(gains, axis=0, return_index=True)
    unique = gains[first]
    for index, row in zip(first, unique, strict=True):
        # Rows are distinct here, so that "at least as good everywhere" holds for the row itself and its dominators.
        mask[index] = np.count_nonzero((unique >= row).all(axis=1)) == 1
    return mask


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
