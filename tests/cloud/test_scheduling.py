"""What the batcher learns: the cost of runs, the gaps between arrivals, and when waiting pays."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.scheduling import Pace


def trained(fixed, each, sizes=(1, 2, 8, 32) * 5):
    pace = Pace()
    for size in sizes:
        pace.ran(size, fixed + each * size)
    return pace


def burst(pace, gaps, rounds=5):
    """Callers of whom the next comes so long after the free model had 1, 2, ... items."""
    now_s = 0.0
    for _ in range(rounds):
        for waiting, gap_s in enumerate(gaps, 1):
            pace.free(now_s, waiting)
            now_s += gap_s
            pace.came(now_s)


@given(fixed=st.floats(0, 10), each=st.floats(1e-6, 10))
def test_a_linear_cost_is_found(fixed, each):
    found = trained(fixed, each).cost()
    assert found == pytest.approx((fixed, each), rel=1e-3, abs=1e-3 * (fixed + each))


@given(runs=st.lists(st.tuples(st.integers(1, 64), st.floats(1e-9, 1e3)), max_size=20))
def test_costs_are_never_negative(runs):
    pace = Pace()
    for run in runs:
        pace.ran(*run)
    fixed, each = pace.cost()
    assert fixed >= -1e-9 * pace.seconds(1)
    assert each >= 0


def test_before_sizes_differ_nothing_is_fixed():
    assert Pace().cost() == (0.0, 0.0)
    assert trained(1.0, 2.0, sizes=[3] * 5).cost() == pytest.approx((0.0, (1.0 + 6.0) / 3))


def test_a_model_that_becomes_faster_is_followed():
    pace = trained(10.0, 10.0)
    for size in (1, 2, 8, 32) * 40:
        pace.ran(size, 1.0 + 0.5 * size)
    assert pace.cost() == pytest.approx((1.0, 0.5), rel=0.01)


@pytest.mark.parametrize(("slack_s", "size"), [(math.inf, 8), (17.1, 8), (16.9, 7), (3.1, 1), (0.5, 1), (-5.0, 1)])
def test_a_run_fits_into_the_slack(slack_s, size):
    assert trained(1.0, 2.0).size(8, slack_s) == size


def test_a_burst_is_worth_waiting_for_and_its_end_is_not():
    pace = trained(10.0, 1.0)
    burst(pace, (0.1, 0.1, 50.0))
    assert pace.wait_s(1, math.inf) == pytest.approx((10 - 1) / 2, rel=1e-3)
    assert pace.wait_s(2, math.inf) == pytest.approx((10 - 2) / 3, rel=1e-3)
    assert pace.wait_s(3, math.inf) == 0
    assert pace.wait_s(4, math.inf) == 0


def test_a_lone_caller_never_waits():
    pace = Pace()
    for round_ in range(100):
        pace.free(20.0 * round_, 1)
        assert pace.wait_s(1, math.inf) == 0
        pace.ran(1, 11.0)
        pace.came(20.0 * round_ + 19)


def test_what_was_once_worth_it_is_forgotten():
    pace = trained(10.0, 1.0)
    burst(pace, (0.1,))
    assert pace.wait_s(1, math.inf) > 0
    burst(pace, (100.0,), rounds=3)
    assert pace.wait_s(1, math.inf) == 0


def test_a_large_batch_does_not_wait_for_one_more():
    pace = trained(10.0, 1.0)
    burst(pace, [1e-6] * 20)
    assert pace.wait_s(9, math.inf) > 0
    assert pace.wait_s(10, math.inf) == 0


def test_nobody_is_made_late_by_waiting():
    pace = trained(10.0, 1.0)
    burst(pace, (0.1,))
    assert pace.wait_s(1, 12.5) == pytest.approx(0.5, rel=1e-2)
    assert pace.wait_s(1, 11.0) == 0
