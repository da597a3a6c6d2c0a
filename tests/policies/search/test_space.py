"""Points and policies: what is cut into cells, what skips a layer, and the way back."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.policy import Policy
from policies.search.space import SearchSpace
from thinwire.errors import InvalidRequestError
from thinwire.records import read

SPACE = SearchSpace(((0.2, 0.4, 0.4, 0.9), (-1.0, 1.0)), (2, 4, 8), (4, 16, None))


@st.composite
def spaces(draw):
    similarity = st.floats(-1, 1, allow_subnormal=False)
    # Repeated quantiles make flat axes.
    axis = st.lists(st.one_of(similarity, st.sampled_from([0.0, 0.5, 1.0])), min_size=2, max_size=6).map(sorted)
    axes = draw(st.lists(axis.map(tuple), min_size=1, max_size=4))
    rising = st.sets(st.integers(1, 64), min_size=1, max_size=5).map(sorted)
    limits = [*draw(rising), *draw(st.sampled_from([[], [None]]))]
    return SearchSpace(tuple(axes), tuple(draw(rising)), tuple(limits))


@st.composite
def points(draw):
    space = draw(spaces())
    coordinate = st.floats(0, 1, allow_subnormal=False)
    return space, np.array(draw(st.lists(coordinate, min_size=space.dimensions, max_size=space.dimensions)))


@given(points())
def test_a_policys_point_means_that_policy(case):
    space, point = case
    policy = space.policy(point)
    standing = space.point(policy)
    assert standing.shape == (space.dimensions,)
    assert (standing >= 0).all()
    assert (standing <= 1).all()
    assert space.policy(standing) == policy
    np.testing.assert_array_equal(space.point(space.policy(standing)), standing)


@given(points())
def test_every_point_means_a_policy_of_the_space(case):
    space, point = case
    policy = space.policy(point)
    assert policy == Policy.create(policy.thresholds, policy.symbols_per_token, policy.max_tokens)
    assert policy.symbols_per_token in space.rates
    assert policy.max_tokens in space.limits
    for threshold, axis in zip(policy.thresholds, space.axes, strict=True):
        assert threshold == 1 or axis[0] - 1e-6 <= threshold <= axis[-1] + 1e-6


@pytest.mark.parametrize(
    ("coordinate", "threshold"),
    [(0.0, 0.2), (0.95 / 6, 0.3), (0.95 / 3, 0.4), (0.95 / 2, 0.4), (0.95 * 5 / 6, 0.65), (0.95, 0.9), (0.951, 1.0)],
)
def test_an_axis_is_linear_between_its_knots_and_its_top_skips(coordinate, threshold):
    assert SPACE.policy(np.array([coordinate, 0, 0, 0])).thresholds[0] == pytest.approx(threshold, abs=1e-6)


def test_a_skipped_layer_and_a_flat_stretch_stand_in_their_middle():
    assert SPACE.point(Policy.create((1.0, 0.0), 2, 4))[0] == pytest.approx(0.975)
    assert SPACE.point(Policy.create((0.4, 0.0), 2, 4))[0] == pytest.approx(0.95 / 2)


def test_thresholds_beyond_an_axis_go_to_its_end():
    assert SPACE.point(Policy.create((0.1, 0.0), 2, 4))[0] == 0
    assert SPACE.point(Policy.create((0.95, 0.0), 2, 4))[0] == pytest.approx(0.95)


@pytest.mark.parametrize(
    ("rate", "limit", "chosen"),
    [
        (0.0, 0.0, (2, 4)),
        (0.33, 0.34, (2, 16)),
        (0.34, 0.99, (4, None)),
        (1.0, 1.0, (8, None)),
        (-3.0, 7.0, (2, None)),
    ],
)
def test_rate_and_limit_are_equal_cells(rate, limit, chosen):
    policy = SPACE.policy(np.array([0.5, 0.5, rate, limit]))
    assert (policy.symbols_per_token, policy.max_tokens) == chosen


def test_what_cannot_be_chosen_is_no_dimension():
    assert SPACE.dimensions == 4
    one = SearchSpace.box([0.5], [0.9], [8])
    assert one.dimensions == 1
    assert one.policy(np.array([0.0])) == Policy.create((0.5,), 8)
    assert SearchSpace.box([0.5], [0.9], [8], [4, None]).dimensions == 2


@pytest.mark.parametrize(
    ("axes", "rates", "limits"),
    [
        ((), (1,), (None,)),
        (((0, 1),), (), (None,)),
        (((0, 1),), (1,), ()),
        (((0.5,),), (1,), (None,)),
        (((0.5, 0.4),), (1,), (None,)),
        (((-1.1, 0.4),), (1,), (None,)),
        (((0.0, 1.1),), (1,), (None,)),
        (((0.0, float("nan")),), (1,), (None,)),
        (((0, 1),), (2, 2), (None,)),
        (((0, 1),), (0, 2), (None,)),
        (((0, 1),), (1,), (8, 4)),
        (((0, 1),), (1,), (None, 4)),
        (((0, 1),), (1,), (0, None)),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(axes, rates, limits):
    with pytest.raises(InvalidRequestError):
        SearchSpace(axes, rates, limits)


def test_a_box_needs_both_ends_of_every_layer():
    with pytest.raises(InvalidRequestError, match="2 low and 1 high"):
        SearchSpace.box([0, 0], [1], [8])


@pytest.mark.parametrize("policy", [((0.3,), 2, 4), ((0.3, 0.3), 3, 4), ((0.3, 0.3), 2, 5)])
def test_a_policy_of_another_space_has_no_point(policy):
    with pytest.raises(InvalidRequestError, match="the space has 2"):
        SPACE.point(Policy.create(*policy))


def test_the_json_form_makes_the_same_space():
    assert read(SearchSpace, json.loads(json.dumps(asdict(SPACE)))) == SPACE


def test_relatives_share_thresholds_and_differ_in_one_choice():
    space = SearchSpace.box([0.1], [0.9], [2, 4, 8], [4, None])
    found = space.relatives(Policy.create([0.5], 4, None))
    assert [(one.symbols_per_token, one.max_tokens) for one in found] == [(2, None), (8, None), (4, 4)]
    assert all(one.thresholds == (0.5,) and space.point(one) is not None for one in found)
