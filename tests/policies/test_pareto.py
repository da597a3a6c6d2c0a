import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.pareto import non_dominated
from thinwire.errors import InvalidRequestError


@st.composite
def tables(draw):
    columns = draw(st.integers(1, 4))
    # Few distinct values, so that ties and equal rows are common.
    row = st.lists(st.integers(0, 3), min_size=columns, max_size=columns)
    rows = draw(st.lists(row, max_size=25))
    maximise = draw(st.lists(st.booleans(), min_size=columns, max_size=columns))
    return np.array(rows, dtype=float).reshape(-1, columns), maximise


def by_definition(table, maximise):
    signs = [1 if more else -1 for more in maximise]
    rows = [tuple(sign * value for sign, value in zip(signs, row, strict=True)) for row in table]

    def dominates(a, b):
        return a != b and all(x >= y for x, y in zip(a, b, strict=True))

    return [not any(dominates(other, row) for other in rows) and row not in rows[:i] for i, row in enumerate(rows)]


@given(tables())
def test_the_mask_is_the_definition(drawn):
    table, maximise = drawn
    assert non_dominated(table, maximise).tolist() == by_definition(table, maximise)


def test_one_example_by_hand():
    table = np.array([[0.7, 2.0], [0.8, 3.0], [0.7, 3.0], [0.8, 3.0], [0.6, 1.0]])
    assert non_dominated(table, (True, False)).tolist() == [True, True, False, False, True]


def test_infinities_compare():
    assert non_dominated(np.array([[1.0, np.inf], [1.0, 2.0]]), (True, False)).tolist() == [False, True]


def test_nan_is_refused():
    with pytest.raises(InvalidRequestError, match="NaN"):
        non_dominated(np.array([[np.nan, 1.0]]), (True, True))


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3)])
def test_another_shape_is_refused(shape):
    with pytest.raises(InvalidRequestError, match="expected an n x 2 array"):
        non_dominated(np.zeros(shape), (True, False))
