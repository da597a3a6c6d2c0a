import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from policies.budget import Budget
from policies.choice import Choice, choose, choose_for, one_token_uses, resolve
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import MeasuredPolicy, Policy
from thinwire.bundle import Bundle, Codec, Merging, Reference
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import BudgetError, UnknownPolicyError
from thinwire.images import Preprocessing

BUNDLE_DIGEST = "b" * 64


def front_of(*policies):
    return Front("tiny", BUNDLE_DIGEST, policies)


@pytest.fixture(scope="session")
def front(measured):
    return front_of(
        measured((0.5, 0.5), 4, accuracy=0.60, channel_uses=30.0, channel_uses_p95=40, edge_gmacs=0.3),
        measured((0.7, 0.7), 4, accuracy=0.70, channel_uses=70.0, channel_uses_p95=80, edge_gmacs=0.6),
        measured((1.0, 1.0), 8, accuracy=0.75, channel_uses=512.0, channel_uses_p95=512, edge_gmacs=1.2),
    )


@pytest.mark.parametrize(
    ("budget", "uses"),
    [
        (Budget(), 512),
        (Budget(channel_uses=512), 512),
        (Budget(channel_uses=511), 80),
        (Budget(channel_uses=80), 80),
        (Budget(channel_uses=79), 40),
        (Budget(bandwidth_hz=10_000, airtime_ms=8), 80),
        (Budget(edge_gmacs=0.6), 80),
        (Budget(edge_gmacs=0.59), 40),
        (Budget(channel_uses=100, min_accuracy=0.7), 80),
    ],
)
def test_the_most_accurate_that_fits_wins(front, budget, uses):
    assert choose([front], budget, 10.0, minimum_uses=4).objectives.channel_uses_p95 == uses


def test_the_quantile_is_compared_not_the_mean(measured):
    front = front_of(measured(channel_uses=50.0, channel_uses_p95=90))
    with pytest.raises(BudgetError, match="least that would do is 90"):
        choose([front], Budget(channel_uses=60), 10.0, minimum_uses=8)


def test_the_current_snr_decides(measured):
    fragile = measured((0.5,), 2, curve=((0.0, 0.2, 0.01), (20.0, 0.8, 0.01)), accuracy=0.5)
    robust = measured((0.5,), 8, curve=((0.0, 0.6, 0.01), (20.0, 0.7, 0.01)), accuracy=0.65)
    front = front_of(fragile, robust)
    assert choose([front], Budget(), 0.0, minimum_uses=2) is robust
    assert choose([front], Budget(), 20.0, minimum_uses=2) is fragile
    assert choose([front], Budget(min_accuracy=0.75), 20.0, minimum_uses=2) is fragile
    with pytest.raises(BudgetError, match=r"most that would do is 0\.6 "):
        choose([front], Budget(min_accuracy=0.75), 0.0, minimum_uses=2)


@st.composite
def fronts(draw, measured):
    # Coarse values make ties common.
    figures = st.fixed_dictionaries(
        {
            "accuracy": st.integers(0, 3).map(lambda step: step / 3),
            "channel_uses": st.integers(1, 4).map(float),
            "channel_uses_p95": st.integers(4, 12),
            "edge_gmacs": st.integers(1, 3).map(lambda step: step / 7),
        }
    )
    rows = draw(st.lists(figures, min_size=1, max_size=8))
    order = draw(st.permutations(range(len(rows))))
    return front_of(*(measured((0.1 * i,), 4, **row) for i, row in zip(order, rows, strict=True)))


budgets = st.builds(
    Budget,
    channel_uses=st.none() | st.integers(4, 14),
    edge_gmacs=st.none() | st.floats(0.1, 0.5),
    min_accuracy=st.none() | st.floats(0, 1),
)


def fits(measured, budget):
    figures = measured.objectives
    return (
        (budget.cap is None or figures.channel_uses_p95 <= budget.cap)
        and (budget.edge_gmacs is None or figures.edge_gmacs <= budget.edge_gmacs)
        and (budget.min_accuracy is None or figures.accuracy >= budget.min_accuracy)
    )


@given(st.data(), budgets)
def test_the_choice_is_the_definition(measured, data, budget):
    front = data.draw(fronts(measured))
    best = None
    for candidate in front.policies:
        if not fits(candidate, budget):
            continue
        figures = candidate.objectives
        rank = (-figures.accuracy, figures.channel_uses, figures.edge_gmacs, candidate.policy.id)
        if best is None or rank < best[0]:
            best = (rank, candidate)
    if best is None:
        with pytest.raises(BudgetError):
            choose([front], budget, 10.0, minimum_uses=4)
    else:
        assert choose([front], budget, 10.0, minimum_uses=4) is best[1]


@given(st.data(), budgets)
def test_what_the_error_advises_succeeds(measured, data, budget):
    front = data.draw(fronts(measured))
    assume(not any(fits(candidate, budget) for candidate in front.policies))
    with pytest.raises(BudgetError) as caught:
        choose([front], budget, 10.0, minimum_uses=4)
    advice = re.findall(r"got (\w+) \S+, the (?:least|most) that would do is (\S+) \(", str(caught.value))
    assert advice
    limits = {name: value for name, value in vars(budget).items() if value is not None}
    as_number = {"channel_uses": int, "edge_gmacs": float, "min_accuracy": float}
    for name, value in advice:
        relaxed = {name: as_number[name](value)}
        if "together" not in str(caught.value):
            relaxed = limits | relaxed
        choose([front], Budget(**relaxed), 10.0, minimum_uses=4)


def test_the_error_names_each_limit_whose_relaxing_is_enough(front):
    with pytest.raises(BudgetError) as caught:
        choose([front], Budget(channel_uses=60, edge_gmacs=1.0, min_accuracy=0.7), 10.0, minimum_uses=4)
    assert re.search(r"got channel_uses 60, .* is 80 .*; or got min_accuracy 0\.7, .* is 0\.6 ", str(caught.value))
    assert "edge_gmacs" not in str(caught.value)


def test_the_error_names_every_limit_that_fails(front):
    with pytest.raises(
        BudgetError, match=r"together: got channel_uses 20, .* is 40 .*; got min_accuracy 0.9, .*0\.75 "
    ):
        choose([front], Budget(channel_uses=20, min_accuracy=0.9, edge_gmacs=5.0), 10.0, minimum_uses=4)


def test_the_error_tells_what_the_second_form_comes_to(front):
    with pytest.raises(BudgetError, match=r"bandwidth_hz 1000\.0 for airtime_ms 20\.0\) 20, the least .* is 40 "):
        choose([front], Budget(bandwidth_hz=1000, airtime_ms=20), 10.0, minimum_uses=4)


def test_less_than_one_token_is_told_as_such(front):
    with pytest.raises(BudgetError, match=r"got 3 channel uses, under the cost of one token \(4\).* is 40$"):
        choose([front], Budget(channel_uses=3), 10.0, minimum_uses=4)


@pytest.mark.parametrize(("prefix_tokens", "uses"), [(0, 8), (1, 8), (2, 16)])
def test_the_smallest_frame_is_the_prefix_or_one_patch(prefix_tokens, uses):
    assert one_token_uses(8, prefix_tokens) == uses


def test_auto_takes_the_smallest_rate_for_the_cost_of_one_token(front):
    with pytest.raises(BudgetError, match=r"one token \(4\)"):
        resolve(Fronts((front,)), "auto", Budget(channel_uses=3), HIGH, 0)
    with pytest.raises(BudgetError, match=r"one token \(12\)"):
        resolve(Fronts((front,)), "auto", Budget(channel_uses=11), HIGH, 3)


def test_an_id_overrides_the_choice_but_not_the_cap(front):
    dearest = front.policies[2]
    budget = Budget(channel_uses=8, edge_gmacs=0.1, min_accuracy=0.99)
    assert resolve(Fronts((front,)), dearest.policy.id, budget, HIGH, 1) is dearest


@pytest.mark.parametrize(("cap", "prefix_tokens", "least"), [(7, 0, 8), (7, 1, 8), (15, 2, 16)])
def test_an_id_under_the_cost_of_one_token_is_refused(front, cap, prefix_tokens, least):
    asked = front.policies[2].policy.id
    with pytest.raises(BudgetError, match=f"got {cap} channel uses.*least that would do is {least}$"):
        resolve(Fronts((front,)), asked, Budget(channel_uses=cap), HIGH, prefix_tokens)


def test_an_unknown_id_is_refused(front):
    with pytest.raises(UnknownPolicyError):
        resolve(Fronts((front,)), "none", Budget(), HIGH, 0)


def on(channel, *policies):
    return front_of(*(MeasuredPolicy(**(vars(one) | {"channel": channel})) for one in policies))


LOW, HIGH, FADING = Channel("awgn", 0.0), Channel("awgn", 10.0), Channel("rayleigh", 10.0)


@pytest.fixture(scope="module")
def several(measured):
    """Few uses at AWGN 0 dB, many at 10 dB; on a fading channel the latter's policy and one of very few."""
    small = measured((0.5, 0.5), 4, accuracy=0.60, channel_uses_p95=40, edge_gmacs=0.3)
    large = measured((0.7, 0.7), 4, accuracy=0.70, channel_uses_p95=80, edge_gmacs=0.6)
    large_fading = measured((0.7, 0.7), 4, accuracy=0.50, channel_uses_p95=80, edge_gmacs=0.6)
    tiny_fading = measured((0.1, 0.1), 2, accuracy=0.40, channel_uses_p95=8, edge_gmacs=0.1)
    return Fronts((on(LOW, small), on(HIGH, large), on(FADING, large_fading, tiny_fading)))


@pytest.mark.parametrize(
    ("budget", "model", "snr_db", "channel", "uses"),
    [
        ({}, "awgn", 10.0, HIGH, 80),
        ({}, "awgn", 1.0, LOW, 40),
        ({}, "rayleigh", 1.0, FADING, 80),
        ({"channel_uses": 79}, "rayleigh", 1.0, FADING, 8),
        ({}, "pigeon", 1.0, LOW, 40),
        ({}, "", 9.0, HIGH, 80),
        # What the nearest front cannot do is asked of the next one of the same model, never of another's.
        ({"channel_uses": 79}, "awgn", 10.0, LOW, 40),
        ({"min_accuracy": 0.65}, "awgn", 0.0, HIGH, 80),
        ({"channel_uses": 39}, "awgn", 10.0, None, 40),
        ({"min_accuracy": 0.6}, "rayleigh", 10.0, None, 0.5),
    ],
)
def test_the_nearest_front_of_the_model_that_can_serves(several, budget, model, snr_db, channel, uses):
    if channel is None:
        with pytest.raises(BudgetError, match=f"that would do is {uses} "):
            resolve(several, "auto", Budget(**budget), Channel(model, snr_db), 0)
        return
    found = resolve(several, "auto", Budget(**budget), Channel(model, snr_db), 0)
    assert (found.channel, found.objectives.channel_uses_p95) == (channel, uses)


def test_the_smallest_rate_is_that_of_the_models_own_fronts(several):
    with pytest.raises(BudgetError, match=r"one token \(4\)"):
        resolve(several, "auto", Budget(channel_uses=3), HIGH, 0)
    with pytest.raises(BudgetError, match=r"got channel_uses 3, the least that would do is 8 "):
        resolve(several, "auto", Budget(channel_uses=3), FADING, 0)


@pytest.mark.parametrize(
    ("model", "snr_db", "channel"),
    [("awgn", 10.0, HIGH), ("awgn", -5.0, HIGH), ("rayleigh", 10.0, FADING), ("pigeon", 0.0, HIGH)],
)
def test_an_id_is_taken_from_the_nearest_front_that_holds_it(several, model, snr_db, channel):
    large, tiny = (several.fronts[index].policies for index in (1, 2))
    assert resolve(several, large[0].policy.id, Budget(), Channel(model, snr_db), 0).channel == channel
    assert resolve(several, tiny[1].policy.id, Budget(), Channel(model, snr_db), 0).channel == FADING


def bundle_with(reference):
    codec = Codec(hidden=8, max_symbols_per_token=16, rates=(4, 8), snr_db=(-5.0, 20.0))
    preprocessing = Preprocessing(32, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    return Bundle("tiny", "classify", {}, 2, 2, 8, 64, 0, ("a",), Merging(), codec, {}, preprocessing, reference)


REFERENCE = Reference(symbols_per_token=4, channel_uses=256, accuracy=0.8, accuracy_se=0.01, n=100, snr_db=10.0)


def test_none_is_the_unmerged_reference_under_the_cap():
    choice = choose_for(bundle_with(REFERENCE), None, "none", Budget(channel_uses=99), HIGH)
    assert choice == Choice("none", Policy((1.0, 1.0), 4), 99, front=None)


def test_auto_and_an_id_are_resolved_in_the_fronts(several):
    bundle = bundle_with(REFERENCE)
    large = several.fronts[1].policies[0].policy
    for asked in ("auto", large.id):
        for channel in (HIGH, FADING):
            choice = choose_for(bundle, several, asked, Budget(channel_uses=90), channel)
            assert choice == Choice(large.id, large, 90, channel)


def test_without_a_reference_none_has_the_highest_rate():
    bundle = bundle_with(None)
    policy = Policy((1.0, 1.0), max(bundle.codec.rates))
    assert choose_for(bundle, None, "none", Budget(), HIGH) == Choice("none", policy, None)


def test_without_fronts_auto_is_the_unmerged_model_or_nothing():
    bundle = bundle_with(REFERENCE)
    unmerged = Choice("none", Policy((1.0, 1.0), 4), 256)
    assert choose_for(bundle, None, "auto", Budget(channel_uses=256), HIGH) == unmerged
    with pytest.raises(BudgetError, match=r"no policies but 'none'.*got channel_uses 255, .* is 256"):
        choose_for(bundle, None, "auto", Budget(channel_uses=255), HIGH)
    for limit in ("edge_gmacs", "min_accuracy"):
        with pytest.raises(BudgetError, match=f"nothing was measured that {limit} could go by"):
            choose_for(bundle, None, "auto", Budget(**{limit: 0.5}), HIGH)
    with pytest.raises(UnknownPolicyError, match="has no policies, so there is no 'abc'"):
        choose_for(bundle, None, "abc", Budget(), HIGH)


def test_pilots_come_off_the_budget_before_anything_is_chosen(several):
    bundle, csi = bundle_with(REFERENCE), Csi.parse("pilots:count=4,every=16")
    piloted = replace(HIGH, csi=csi)
    choice = choose_for(bundle, None, "none", Budget(channel_uses=99), piloted)
    assert choice.cap == 79 == 99 - csi.pilot_uses(79)
    large, small = (several.fronts[1].policies[0].objectives.channel_uses_p95, Budget(channel_uses=5))
    enough = large + csi.pilot_uses(large)
    assert choose_for(bundle, several, "auto", Budget(channel_uses=enough), piloted).cap == large
    with pytest.raises(BudgetError, match=r"of the 5 channel uses the pilots \(pilots:count=4,every=16\) leave 1 for"):
        choose_for(bundle, several, "auto", small, piloted)
