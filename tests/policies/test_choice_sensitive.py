"""The choice between policies of which some lose accuracy faster than the unmerged reference at low SNR."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.budget import Budget
from policies.choice import choose
from policies.front import Front

BUNDLE_DIGEST = "b" * 64


def front_of(*policies):
    return Front("tiny", BUNDLE_DIGEST, policies)


SENSITIVE_BELOW_DB = 5.0


@pytest.mark.parametrize(
    ("gain", "snr_db", "budget", "wins"),
    [
        # Two standard errors of 0.01 each are 0.0283 of their difference.
        (0.02, 4.9, {}, "robust"),
        (0.02, 5.0, {}, "sensitive"),
        (0.03, 4.9, {}, "sensitive"),
        (0.00, 4.9, {}, "robust"),
        (-0.1, 4.9, {}, "robust"),
        (-0.1, 4.9, {"channel_uses": 90}, "sensitive"),
        (0.02, 4.9, {"channel_uses": 90}, "sensitive"),
        (0.02, 4.9, {"min_accuracy": 0.61}, "sensitive"),
    ],
)
def test_a_sensitive_policy_is_avoided_unless_it_is_measurably_better(measured, gain, snr_db, budget, wins):
    sensitive = measured(
        (0.1,), channel_uses_p95=80, accuracy=0.6 + gain, accuracy_se=0.01, sensitive_below_db=SENSITIVE_BELOW_DB
    )
    robust = measured((0.2,), channel_uses_p95=100, accuracy=0.6, accuracy_se=0.01)
    poor = measured((0.3,), channel_uses_p95=100, accuracy=0.3, accuracy_se=0.01)
    chosen = choose([front_of(robust, poor, sensitive)], Budget(**budget), snr_db, minimum_uses=2)
    assert chosen is (robust if wins == "robust" else sensitive)


def test_standard_errors_are_those_at_the_snr(measured):
    curves = [((0.0, 0.6 + gain, 0.05), (10.0, 0.6 + gain, 0.001)) for gain in (0.02, 0.0)]
    sensitive = measured((0.1,), curve=curves[0], sensitive_below_db=20.0)
    robust = measured((0.2,), curve=curves[1])
    front = front_of(sensitive, robust)
    assert choose([front], Budget(), 0.0, minimum_uses=2) is robust
    # 2 sqrt(2) (0.05 - 0.0049 t) is 0.02 at t = 8.76 dB.
    assert choose([front], Budget(), 8.7, minimum_uses=2) is robust
    assert choose([front], Budget(), 8.8, minimum_uses=2) is sensitive


@st.composite
def sensitive_fronts(draw, measured):
    figures = st.fixed_dictionaries(
        {
            "accuracy": st.integers(0, 8).map(lambda step: step / 8),
            "accuracy_se": st.sampled_from((0.0, 0.02, 0.1)),
            "channel_uses_p95": st.integers(4, 12),
            "sensitive_below_db": st.sampled_from((None, 5.0, 15.0)),
        }
    )
    rows = draw(st.lists(figures, min_size=1, max_size=8, unique_by=lambda row: row["accuracy"]))
    return front_of(*(measured((0.1 * i,), 4, **row) for i, row in enumerate(rows)))


@given(st.data(), st.builds(Budget, channel_uses=st.none() | st.integers(4, 12)), st.sampled_from((0.0, 10.0, 20.0)))
def test_a_sensitive_policy_serves_only_where_it_is_best_by_more_than_chance(measured, data, budget, snr_db):
    front = data.draw(sensitive_fronts(measured))
    fitting = {
        one.objectives.accuracy: one
        for one in front.policies
        if one.objectives.channel_uses_p95 <= (budget.cap or math.inf)
    }
    assume(fitting)
    chosen = choose([front], budget, snr_db, minimum_uses=4)
    best = fitting[max(fitting)]
    robust = [accuracy for accuracy, one in fitting.items() if not (one.sensitive_below_db or -math.inf) > snr_db]
    assert chosen is best or chosen is fitting[max(robust)]
    if chosen.objectives.accuracy not in robust and robust:
        rival = fitting[max(robust)].objectives
        error = math.hypot(best.objectives.accuracy_se, rival.accuracy_se)
        assert best.objectives.accuracy - rival.accuracy > 2 * error
    if chosen is not best:
        error = math.hypot(best.objectives.accuracy_se, chosen.objectives.accuracy_se)
        assert best.objectives.accuracy - chosen.objectives.accuracy <= 2 * error
        assert best.objectives.accuracy not in robust
