"""The hypervolume against inclusion and exclusion of boxes."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.pareto import hypervolume

FRONTS = st.integers(2, 4).flatmap(
    lambda m: st.lists(
        st.lists(st.floats(-0.5, 1.5, allow_subnormal=False), min_size=m, max_size=m), min_size=1, max_size=6
    )
)


def by_inclusion_and_exclusion(rows: np.ndarray) -> float:
    """The volume of a union of boxes from 0 to each row."""
    boxes = np.clip(rows, 0, None)
    return sum(
        (-1) ** (size + 1) * np.prod(boxes[list(chosen)].min(axis=0))
        for size in range(1, len(boxes) + 1)
        for chosen in combinations(range(len(boxes)), size)
    )


@given(FRONTS)
def test_it_is_the_volume_of_a_union_of_boxes(rows):
    expected = by_inclusion_and_exclusion(np.array(rows))
    assert hypervolume([np.array(row) for row in rows]) == pytest.approx(expected, abs=1e-9)


def test_nothing_beyond_the_reference_is_no_volume():
    assert hypervolume([]) == 0
    assert hypervolume([np.array([0.5, -0.1]), np.array([0.0, 1.0])]) == 0


def test_the_ideal_alone_is_one():
    assert hypervolume([np.ones(3), np.full(3, 0.5)]) == pytest.approx(1)
