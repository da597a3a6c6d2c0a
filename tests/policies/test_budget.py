import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.budget import Budget
from thinwire.csi import Csi
from thinwire.errors import BudgetError, InvalidRequestError


def test_an_empty_budget_limits_nothing():
    assert Budget().cap is None
    assert Budget(edge_gmacs=1.0, min_accuracy=0.5).cap is None


def test_channel_uses_are_the_cap():
    assert Budget(channel_uses=64).cap == 64


@given(st.integers(1, 10**9), st.integers(1, 10**7))
def test_the_cap_is_the_floor_of_the_decimals_as_written(centihertz, microseconds):
    budget = Budget(bandwidth_hz=centihertz / 100, airtime_ms=microseconds / 1000)
    assert budget.cap == centihertz * microseconds // 10**8


def test_the_cap_does_not_lose_a_use_to_binary_fractions():
    assert 100_000 * 0.29 / 1000 < 29
    assert Budget(bandwidth_hz=100_000, airtime_ms=0.29).cap == 29


def test_a_cap_may_round_down_to_nothing():
    assert Budget(bandwidth_hz=10, airtime_ms=99).cap == 0


@pytest.mark.parametrize(
    "limits",
    [
        {"channel_uses": 10, "bandwidth_hz": 1000.0, "airtime_ms": 10.0},
        {"channel_uses": 10, "airtime_ms": 10.0},
    ],
)
def test_both_forms_contradict_each_other(limits):
    with pytest.raises(InvalidRequestError, match="either channel_uses or bandwidth_hz"):
        Budget(**limits)


@pytest.mark.parametrize(("given", "missing"), [("bandwidth_hz", "airtime_ms"), ("airtime_ms", "bandwidth_hz")])
def test_half_of_the_second_form_is_refused(given, missing):
    with pytest.raises(InvalidRequestError, match=f"{given} says nothing without {missing}"):
        Budget(**{given: 5.0})


@pytest.mark.parametrize("name", ["bandwidth_hz", "airtime_ms", "edge_gmacs"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf, 10**400, "5", True])
def test_a_limit_out_of_range_is_refused(name, value):
    with pytest.raises(InvalidRequestError, match=f"budget.{name} must be"):
        Budget(**{name: value})


@pytest.mark.parametrize("value", [0, -3, 2.0, True, "5"])
def test_channel_uses_are_a_positive_whole_number(value):
    with pytest.raises(InvalidRequestError, match=r"budget\.channel_uses must be (a whole number|at least 1), got"):
        Budget(channel_uses=value)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_min_accuracy_is_a_share(value):
    with pytest.raises(InvalidRequestError, match="min_accuracy"):
        Budget(min_accuracy=value)


def test_the_ends_of_the_shares_are_valid():
    assert Budget(min_accuracy=0).min_accuracy == 0
    assert Budget(min_accuracy=1).min_accuracy == 1


def test_numpy_scalars_become_plain_numbers():
    assert type(Budget(channel_uses=np.int64(5)).channel_uses) is int
    assert type(Budget(edge_gmacs=np.float32(0.5)).edge_gmacs) is float


def test_an_airtime_alone_counts_at_the_links_rate():
    assert Budget.on_link(4000.0, airtime_ms=2.5, edge_gmacs=1.0) == Budget(
        bandwidth_hz=4000.0, airtime_ms=2.5, edge_gmacs=1.0
    )
    assert Budget.on_link(100_000.0, airtime_ms=0.29, bandwidth_hz=None, channel_uses=None).cap == 29


@pytest.mark.parametrize(
    "limits", [{}, {"channel_uses": 7}, {"bandwidth_hz": 50.0, "airtime_ms": 100.0}, {"min_accuracy": 0.5}]
)
def test_the_links_rate_changes_no_other_budget(limits):
    assert Budget.on_link(4000.0, **limits) == Budget(**limits)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"channel_uses": 10, "airtime_ms": 10.0}, "either channel_uses or bandwidth_hz"),
        ({"bandwidth_hz": 10.0}, "bandwidth_hz says nothing without airtime_ms"),
        ({"bandwidth_hz": 0.0, "airtime_ms": 10.0}, "bandwidth_hz must be"),
        ({"airtime_ms": 0.0}, "airtime_ms must be"),
        ({"airtime_ms": math.inf}, "airtime_ms must be"),
    ],
)
def test_what_is_wrong_stays_wrong_on_a_link(limits, message):
    with pytest.raises(InvalidRequestError, match=message):
        Budget.on_link(4000.0, **limits)


@pytest.mark.parametrize(
    ("budget", "csi", "cap"),
    [
        (Budget(channel_uses=40), "perfect", 40),
        (Budget(channel_uses=40), "none", 40),
        (Budget(channel_uses=40), "pilots:count=4", 36),
        (Budget(channel_uses=40), "pilots:count=4,every=16", 32),
        (Budget(bandwidth_hz=1000, airtime_ms=39.5), "pilots:count=4,every=16", 31),
        (Budget(), "pilots:count=4", None),
    ],
)
def test_pilots_come_off_the_cap(budget, csi, cap):
    left = budget.beside_pilots(Csi.parse(csi))
    assert left.cap == cap


def test_beside_pilots_the_other_limits_stay():
    budget = Budget(channel_uses=9, edge_gmacs=1.0, min_accuracy=0.5)
    assert budget.beside_pilots(Csi.parse("pilots")) == Budget(channel_uses=8, edge_gmacs=1.0, min_accuracy=0.5)


def test_pilots_may_leave_nothing():
    with pytest.raises(BudgetError, match=r"got 4 channel uses, of which the pilots \(pilots:count=4\) leave none"):
        Budget(channel_uses=4).beside_pilots(Csi.parse("pilots:count=4"))
