"""The ablation's arithmetic: which trials make a front, and what its table says of several seeds."""

import numpy as np
import pytest

from experiments.harness.report import Estimate
from experiments.searches import front, on_test, report
from policies.policy import MeasuredPolicy, Objectives, Policy
from policies.search.objectives import Scale
from thinwire.channels import Channel

SCALE = Scale(("accuracy", "edge_gmacs", "channel_uses"), (-0.1, 1.0, 100.0), (0.0, 0.0, 1.0))


def trial(number, change, gmacs, uses):
    figures = Objectives(0.5, 0.01, 100, gmacs, uses, int(uses), 10.0, 1.0, 0.0, change, 0.01)
    return MeasuredPolicy(Policy.create([number / 100], 4), "b" * 64, Channel("awgn", 10.0), figures)


def test_a_front_holds_what_nothing_dominates_and_what_beats_the_reference_point():
    good, light, worse, useless = (
        trial(1, -0.01, 0.5, 10.0),
        trial(2, -0.05, 0.2, 10.0),
        trial(3, -0.02, 0.5, 20.0),
        trial(4, -0.2, 0.01, 1.0),
    )
    assert front([good, worse, light, useless], SCALE) == [good, light]


def test_the_test_images_judge_what_select_has_chosen():
    chosen, dropped = trial(1, 0.0, 0.5, 10.0), trial(2, -0.05, 0.6, 10.0)
    test = {
        # On the test images the dropped one would be the better: it must not count.
        chosen.policy.digest: trial(1, -0.05, 0.5, 10.0),
        dropped.policy.digest: trial(2, 0.0, 0.1, 1.0),
    }
    expected = 0.5 * 0.5 * (np.log(100) - np.log(10)) / np.log(100)
    assert on_test([chosen, dropped], SCALE, test) == pytest.approx(expected)


def test_the_table_leaves_out_what_an_arm_did_not_run():
    arms = {"random": np.array([[0.1, 0.2], [0.1, 0.4]]), "qlognehvi": np.array([[0.3], [0.6]])}
    table, paired = report(arms, 10).tables
    first = table.rows[0]["qlognehvi"]
    assert isinstance(first, Estimate)
    assert (first.value, first.se) == (pytest.approx(0.45), pytest.approx(0.15))
    assert table.rows[1]["qlognehvi"] is None
    assert [row["trials"] for row in table.rows] == [10, 20]
    # By 0.1 and 0.2: ahead on both seeds.
    assert paired.rows[0]["mean"] == pytest.approx(0.15)
    # Student's t of one degree of freedom.
    assert paired.rows[0]["95% interval, +-"] == pytest.approx(12.706 * 0.05, rel=1e-4)
    assert paired.rows[0]["seeds ahead"] == "2 of 2"
