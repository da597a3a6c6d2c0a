import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.harness.in_turn import in_turn, median, milliseconds, quartiles
from experiments.harness.report import Interval


def test_the_interval_of_a_median_is_that_of_the_tables():
    # Conover (1999), table A3: of ten values the second and the ninth, of twenty the sixth and the fifteenth.
    assert median(range(1, 11)) == Interval(5.5, 2.0, 9.0)
    assert median(range(1, 21)) == Interval(10.5, 6.0, 15.0)


@pytest.mark.parametrize("count", range(1, 6))
def test_of_few_values_it_is_their_range(count):
    found = median(range(count))
    assert (found.low, found.high) == (0.0, count - 1.0)


@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40))
def test_it_holds_the_median(values):
    found = median(values)
    assert found.low <= found.value <= found.high
    assert found.value == pytest.approx(float(np.median(values)))


def test_parts_run_in_turn_and_the_first_round_does_not_count():
    seen = []
    parts = {name: lambda name=name: seen.append(name) or len(seen) for name in ("a", "b")}
    assert {name: found.tolist() for name, found in in_turn(parts, 2).items()} == {"a": [3, 5], "b": [4, 6]}
    assert seen == ["a", "b"] * 3


def test_no_round_warms_up_where_each_counts():
    assert in_turn({"a": iter([1, 2]).__next__}, 2, warm_up=0)["a"].tolist() == [1, 2]


def test_quartiles_are_those_of_the_values():
    assert quartiles([0, 1, 2, 3, 4]) == Interval(2.0, 1.0, 3.0)


def test_a_part_takes_time_of_the_clock_and_of_processors():
    clock, processors = milliseconds(lambda: sum(range(100_000)))
    assert clock > 0
    assert processors >= 0
