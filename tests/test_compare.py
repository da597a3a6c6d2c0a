"""What `benchmarks.compare` says of hand-made figures."""

from dataclasses import replace

import pytest

from benchmarks.compare import as_text, best_of, cheapest, compare, savings
from policies.baseline import Baseline
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy, Objectives
from thinwire.errors import InvalidRequestError

CHANNEL = ChannelProfile("awgn", 10.0)


def figures(accuracy, uses, gmacs, tokens=8.0):
    return Objectives(accuracy, 0.01, 100, gmacs, uses, int(uses), tokens, 0.0, 0.0, accuracy - 0.8, 0.01)


def policy(number, *arguments):
    return MeasuredPolicy(Policy.create([number / 10], 4), "b" * 64, CHANNEL, figures(*arguments))


UNMERGED = figures(0.8, 200, 2.0, 50.0)
FRONT = [figures(0.80, 50, 1.0), figures(0.79, 20, 1.5)]


def test_a_dominated_member_and_one_that_loses_too_much_do_not_count():
    members = [UNMERGED, replace(UNMERGED, channel_uses=300.0), figures(0.7, 10, 0.1)]
    assert best_of(members) == [UNMERGED]


def test_what_is_saved():
    # The first: 50 for 200 uses, 1.0 for 2.0. The second: only the second policy is cheap enough, and 1.0 for 1.5.
    found = savings(FRONT, [UNMERGED, figures(0.785, 100, 1.5)])
    assert found["members"] == 2
    assert found["channel_uses"] == {"beaten": 2, "median_saved": pytest.approx((0.75 + 0.8) / 2)}
    assert found["edge_gmacs"] == {"beaten": 2, "median_saved": pytest.approx((0.5 + 1 / 3) / 2)}


@pytest.mark.parametrize("winner", [figures(0.81, 200, 2.0), figures(0.80, 40, 1.0), figures(0.79, 10, 0.5), FRONT[0]])
def test_a_member_that_no_policy_beats_saves_nothing_and_counts(winner):
    found = savings(FRONT, [winner])
    assert found["channel_uses"] == found["edge_gmacs"] == {"beaten": 0, "median_saved": 0.0}


def test_a_family_out_of_reach_has_no_median():
    found = savings(FRONT, [figures(0.5, 1, 0.1)])
    assert found["channel_uses"] == {"beaten": 0, "median_saved": None}


def test_the_cheapest_within_a_loss():
    assert cheapest(FRONT, 0.005) == {"channel_uses": 50, "edge_gmacs": 1.0}
    assert cheapest(FRONT, 0.02) == {"channel_uses": 20, "edge_gmacs": 1.0}
    assert cheapest([figures(0.7, 1, 1)], 0.02) is None


def test_the_headline_is_chosen_on_select_and_stated_on_test():
    select = [policy(1, 0.799, 40, 1.0, 10.0), policy(2, 0.80, 80, 1.8, 20.0), policy(3, 0.78, 4, 0.2, 1.0)]
    test = [policy(1, 0.77, 42, 1.1, 11.0), policy(2, 0.80, 80, 1.8, 20.0), policy(3, 0.80, 4, 0.2, 1.0)]
    baselines = [Baseline("unmerged", {"symbols_per_token": 4}, UNMERGED)]
    result = compare(select, test, baselines)
    assert result["headline"]["policy"] == select[0].policy.id
    assert result["headline"]["test_accuracy"] == 0.77
    assert result["headline"]["gmacs_share"] == pytest.approx(0.55)
    assert result["headline"]["tokens_share"] == pytest.approx(0.22)
    assert "unmerged" in as_text(result)
    with pytest.raises(InvalidRequestError, match=f"not measured on the test images: {select[2].policy.id}"):
        compare(select, test[:2], baselines)
    with pytest.raises(InvalidRequestError, match="has no baselines"):
        compare(select, test, [])
