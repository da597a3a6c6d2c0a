"""What a front saves, of hand-made figures."""

import pytest

from experiments.tradeoff.choices import (
    CHANNEL_USES,
    EDGE_GMACS,
    Saving,
    best_of,
    cheapest,
    most_accurate,
    saving,
    share_of,
)
from policies.policy import Objectives


def figures(accuracy, uses, gmacs, tokens=8.0):
    return Objectives(accuracy, 0.01, 100, gmacs, uses, int(uses), tokens, 0.0, 0.0, accuracy - 0.8, 0.01)


def judged(accuracy, uses, gmacs, test=None):
    """One whose accuracy on the test images is ``test``, the same as on select when left out."""
    return figures(accuracy, uses, gmacs), figures(accuracy if test is None else test, uses, gmacs)


UNMERGED = judged(0.8, 200, 2.0)
FRONT = [judged(0.80, 50, 1.0, test=0.79), judged(0.79, 20, 1.5)]


def named(members):
    return {str(number): one for number, one in enumerate(members)}


def saved(members):
    front, best = named(FRONT), {f"best {name}": one for name, one in named(members).items()}
    select, test = ({name: one[split] for name, one in (front | best).items()} for split in (0, 1))
    costs = ((CHANNEL_USES, EDGE_GMACS), (EDGE_GMACS, CHANNEL_USES))
    return tuple(saving([*front], [*best], select, test, *both) for both in costs)


def test_a_dominated_member_and_one_that_loses_too_much_do_not_count():
    assert best_of(named([figures(0.8, 300, 2.0), figures(0.8, 200, 2.0), figures(0.76, 10, 0.1)])) == ["1"]
    assert best_of(named([figures(0.5, 1, 0.1)])) == []


def test_what_is_saved_and_what_that_is_worth_on_the_test_images():
    # The first: 50 for 200 uses, 1.0 for 2.0. The second: only the second policy is cheap enough, and 1.0 for 1.5.
    uses, gmacs = saved([UNMERGED, judged(0.785, 100, 1.5, test=0.78)])
    assert (uses.beaten, gmacs.beaten) == (2, 2)
    assert uses.share == pytest.approx(100 * (0.75 + 0.8) / 2)
    assert gmacs.share == pytest.approx(100 * (0.5 + 1 / 3) / 2)
    assert uses.gained == gmacs.gained == pytest.approx(0.0)


def test_what_lies_above_the_unmerged_reference_is_not_asked_for():
    assert saved([judged(0.83, 100, 1.0)])[0].share == pytest.approx(50)


def test_a_member_that_is_lucky_on_the_test_images_alone_is_still_compared_by_select():
    uses, _ = saved([judged(0.785, 200, 2.0, test=0.9)])
    assert uses.beaten == 1
    assert uses.gained == pytest.approx(100 * (0.79 - 0.9))


WINNERS = [judged(0.80, 40, 0.0), judged(0.81, 40, 1.0), judged(0.80, 40, 1.0), judged(0.79, 10, 0.5), FRONT[0]]


@pytest.mark.parametrize("winner", WINNERS)
def test_a_member_that_no_policy_beats_saves_nothing_and_counts(winner):
    assert saved([winner]) == (Saving(0.0, 0, 0.0), Saving(0.0, 0, 0.0))


def test_of_a_family_out_of_reach_nothing_can_be_told():
    assert saved([]) == (Saving(), Saving())


def test_the_cheapest_within_a_loss_and_of_equally_cheap_ones_the_most_accurate():
    select = named([select for select, _ in FRONT])
    assert cheapest(select, 0.005, CHANNEL_USES) == "0"
    assert cheapest(select, 0.02, CHANNEL_USES) == "1"
    assert cheapest(named([figures(0.7, 1, 1)]), 0.02, CHANNEL_USES) is None
    assert cheapest(named([figures(0.79, 20, 1.0), figures(0.80, 20, 2.0)]), 0.02, CHANNEL_USES) == "1"


def test_the_most_accurate_within_a_budget():
    select = named([select for select, _ in FRONT])
    assert [most_accurate(select, budget, CHANNEL_USES) for budget in (50, 49, 19)] == ["0", "1", None]


def test_the_headline_counts_shares_of_compute_and_of_tokens():
    assert share_of(figures(0.8, 200, 2.0, 50.0))(figures(0.8, 9, 1.0, 5.0)) == pytest.approx(0.5 + 0.1)
