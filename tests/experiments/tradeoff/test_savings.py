"""What a front saves, of hand-made figures."""

import pytest

from experiments.tradeoff.savings import Judged, best_of, channel_uses, cheapest, edge_gmacs, saving, share_of
from policies.record import Objectives


def figures(accuracy, uses, gmacs, tokens=8.0):
    return Objectives(accuracy, 0.01, 100, gmacs, uses, int(uses), tokens, 0.0, 0.0, accuracy - 0.8, 0.01)


def judged(accuracy, uses, gmacs, test=None):
    """One whose accuracy on the test images is ``test``, the same as on select when left out."""
    return Judged(figures(accuracy, uses, gmacs), figures(accuracy if test is None else test, uses, gmacs))


UNMERGED = judged(0.8, 200, 2.0)
FRONT = [judged(0.80, 50, 1.0, test=0.79), judged(0.79, 20, 1.5)]


def saved(members):
    return saving(FRONT, members, channel_uses, edge_gmacs), saving(FRONT, members, edge_gmacs, channel_uses)


def test_a_dominated_member_and_one_that_loses_too_much_do_not_count():
    assert best_of([figures(0.8, 300, 2.0), figures(0.8, 200, 2.0), figures(0.76, 10, 0.1)]) == [1]
    assert best_of([figures(0.5, 1, 0.1)]) == []


def test_what_is_saved_and_what_that_is_worth_on_the_test_images():
    # The first: 50 for 200 uses, 1.0 for 2.0. The second: only the second policy is cheap enough, and 1.0 for 1.5.
    uses, gmacs = saved([UNMERGED, judged(0.785, 100, 1.5, test=0.78)])
    assert (uses.members, uses.beaten, gmacs.beaten) == (2, 2, 2)
    assert uses.share == pytest.approx((0.75 + 0.8) / 2)
    assert gmacs.share == pytest.approx((0.5 + 1 / 3) / 2)
    assert uses.gained == gmacs.gained == pytest.approx(0.0)


def test_what_lies_above_the_unmerged_reference_is_not_asked_for():
    assert saved([judged(0.83, 100, 1.0)])[0].share == pytest.approx(0.5)


def test_a_member_that_is_lucky_on_the_test_images_alone_is_still_compared_by_select():
    uses, _ = saved([judged(0.785, 200, 2.0, test=0.9)])
    assert uses.beaten == 1
    assert uses.gained == pytest.approx(0.79 - 0.9)


WINNERS = [judged(0.81, 40, 1.0), judged(0.80, 40, 1.0), judged(0.79, 10, 0.5), FRONT[0]]


@pytest.mark.parametrize("winner", WINNERS)
def test_a_member_that_no_policy_beats_saves_nothing_and_counts(winner):
    for one in saved([winner]):
        assert (one.members, one.beaten, one.share, one.gained) == (1, 0, 0.0, 0.0)


def test_of_a_family_out_of_reach_nothing_can_be_told():
    assert saved([]) == (None, None)


def test_the_cheapest_within_a_loss_and_of_equally_cheap_ones_the_most_accurate():
    select = [one.select for one in FRONT]
    assert cheapest(select, 0.005, channel_uses) == 0
    assert cheapest(select, 0.02, channel_uses) == 1
    assert cheapest([figures(0.7, 1, 1)], 0.02, channel_uses) is None
    assert cheapest([figures(0.79, 20, 1.0), figures(0.80, 20, 2.0)], 0.02, channel_uses) == 1


def test_the_headline_counts_shares_of_compute_and_of_tokens():
    assert share_of(figures(0.8, 200, 2.0, 50.0))(figures(0.8, 9, 1.0, 5.0)) == pytest.approx(0.5 + 0.1)
