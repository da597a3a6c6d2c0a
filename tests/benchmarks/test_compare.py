"""What `benchmarks.compare` says of hand-made figures."""

import pytest

from benchmarks.compare import COSTS, Candidate, as_text, best_of, cheapest, compare, paired, savings
from policies.baseline import Baseline
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy, Objectives
from thinwire.errors import InvalidRequestError

CHANNEL = ChannelProfile("awgn", 10.0)
USES = COSTS["channel_uses"]


def figures(accuracy, uses, gmacs, tokens=8.0):
    return Objectives(accuracy, 0.01, 100, gmacs, uses, int(uses), tokens, 0.0, 0.0, accuracy - 0.8, 0.01)


def candidate(accuracy, uses, gmacs, tokens=8.0, test=None):
    """One whose accuracy on the test images is ``test``, the same as on select when left out."""
    on_test = figures(accuracy if test is None else test, uses, gmacs, tokens)
    return Candidate(f"{uses}", figures(accuracy, uses, gmacs, tokens), on_test)


UNMERGED = candidate(0.8, 200, 2.0, 50.0)
FRONT = [candidate(0.80, 50, 1.0, test=0.79), candidate(0.79, 20, 1.5)]


def test_a_dominated_member_and_one_that_loses_too_much_do_not_count():
    members = [UNMERGED, candidate(0.8, 300, 2.0), candidate(0.7, 10, 0.1)]
    assert best_of(members) == [UNMERGED]


def test_what_is_saved_and_what_that_is_worth_on_the_test_images():
    # The first: 50 for 200 uses, 1.0 for 2.0. The second: only the second policy is cheap enough, and 1.0 for 1.5.
    found = savings(FRONT, [UNMERGED, candidate(0.785, 100, 1.5, test=0.78)])
    assert found["members"] == 2
    assert found["channel_uses"] == {
        "beaten": 2,
        "mean_saved": pytest.approx((0.75 + 0.8) / 2),
        "test_difference": pytest.approx((-0.01 + 0.01) / 2),
    }
    assert found["edge_gmacs"] == {
        "beaten": 2,
        "mean_saved": pytest.approx((0.5 + 1 / 3) / 2),
        "test_difference": pytest.approx((-0.01 + 0.01) / 2),
    }


def test_what_lies_above_the_unmerged_reference_is_not_asked_for():
    found = savings(FRONT, [candidate(0.83, 100, 1.0)])
    assert found["channel_uses"]["mean_saved"] == pytest.approx(0.5)


def test_a_member_that_is_lucky_on_the_test_images_alone_is_still_compared_by_select():
    found = savings(FRONT, [candidate(0.785, 200, 2.0, test=0.9)])
    assert found["channel_uses"]["beaten"] == 1
    assert found["channel_uses"]["test_difference"] == pytest.approx(0.79 - 0.9)


WINNERS = [candidate(0.81, 40, 1.0), candidate(0.80, 40, 1.0), candidate(0.79, 10, 0.5), FRONT[0]]


@pytest.mark.parametrize("winner", WINNERS)
def test_a_member_that_no_policy_beats_saves_nothing_and_counts(winner):
    found = savings(FRONT, [winner])
    assert found["channel_uses"] == found["edge_gmacs"] == {"beaten": 0, "mean_saved": 0.0, "test_difference": 0.0}


def test_a_family_out_of_reach_saves_nothing_that_could_be_told():
    found = savings(FRONT, [candidate(0.5, 1, 0.1)])
    assert found["channel_uses"] == {"beaten": 0, "mean_saved": None, "test_difference": None}


def test_the_cheapest_within_a_loss_is_chosen_on_select_and_stated_on_test():
    found = cheapest(FRONT, 0.005, USES)
    assert (found["channel_uses"], found["select_change"]) == (50, pytest.approx(0))
    assert found["test_change"] == pytest.approx(-0.01)
    assert cheapest(FRONT, 0.02, USES)["channel_uses"] == 20
    assert cheapest([candidate(0.7, 1, 1)], 0.02, USES) is None


def test_of_equally_cheap_ones_the_more_accurate_is_chosen():
    assert cheapest([candidate(0.79, 20, 1.0), candidate(0.80, 20, 2.0)], 0.02, USES)["edge_gmacs"] == 2.0


def policy(number, *arguments):
    return MeasuredPolicy(Policy.create([number / 10], 4), "b" * 64, CHANNEL, figures(*arguments))


def test_the_headline_is_chosen_once_on_each():
    select = [policy(1, 0.799, 40, 1.0, 10.0), policy(2, 0.80, 80, 1.8, 20.0), policy(3, 0.78, 4, 0.2, 1.0)]
    test = [policy(1, 0.77, 42, 1.1, 11.0), policy(2, 0.80, 80, 1.8, 20.0), policy(3, 0.80, 4, 0.2, 1.0)]
    baselines = [Baseline("unmerged", {"symbols_per_token": 4}, UNMERGED.test)]
    result = compare([*paired(select, test), *paired(baselines, baselines)])
    chosen = result["headline"]["chosen_on_select"]
    assert chosen["name"] == select[0].policy.id
    assert chosen["test_accuracy"] == 0.77
    assert chosen["gmacs_share"] == pytest.approx(0.55)
    assert chosen["tokens_share"] == pytest.approx(0.22)
    assert result["headline"]["chosen_on_test"]["name"] == select[2].policy.id
    assert result["mean_select_less_test_change"] == pytest.approx((0.029 + 0 - 0.02 + 0) / 4)
    assert "unmerged" in as_text(result)
    with pytest.raises(InvalidRequestError, match=f"not measured on the test images: {select[2].policy.id}"):
        paired(select, test[:2])
    with pytest.raises(InvalidRequestError, match="need policies and baselines"):
        compare(paired(select, test))
