import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.budget import Budget
from policies.choice import choose
from policies.front import Front
from policies.serviceable import serviceable, worth_their_compute
from thinwire.errors import BudgetError

SNR_DB = 10.0


def test_the_quantile_of_the_uses_counts_and_not_their_mean(measured):
    steady = measured((0.1,), channel_uses=90.0, channel_uses_p95=100)
    varied = measured((0.2,), channel_uses=50.0, channel_uses_p95=150)
    assert serviceable([varied, steady], SNR_DB) == (steady,)


def test_the_accuracy_at_every_snr_counts(measured):
    fragile = measured((0.1,), curve=((0.0, 0.2, 0.01), (20.0, 0.8, 0.01)), accuracy=0.7)
    robust = measured((0.2,), curve=((0.0, 0.6, 0.01), (20.0, 0.7, 0.01)), accuracy=0.6)
    worse = measured((0.3,), curve=((0.0, 0.6, 0.01), (20.0, 0.6, 0.01)), accuracy=0.9)
    assert set(serviceable([fragile, robust, worse], SNR_DB)) == {fragile, robust}


def test_curves_with_other_snrs_are_compared_at_all_of_them(measured):
    bent = measured((0.1,), curve=((0.0, 0.5, 0.01), (10.0, 0.8, 0.01), (20.0, 0.7, 0.01)))
    straight = measured((0.2,), curve=((0.0, 0.5, 0.01), (20.0, 0.7, 0.01)))
    flat = measured((0.3,), accuracy=0.72)
    assert set(serviceable([straight, flat, bent], SNR_DB)) == {bent, flat}


def test_without_curves_the_accuracy_of_the_study_counts(measured):
    good, bad = measured((0.1,), accuracy=0.8), measured((0.2,), accuracy=0.7)
    assert serviceable([bad, good], SNR_DB) == (good,)


def test_of_equals_the_one_that_a_choice_prefers_stays(measured):
    equals = [measured((step,), channel_uses=uses) for step, uses in ((0.1, 60.0), (0.2, 50.0), (0.3, 50.0))]
    (kept,) = serviceable(equals, SNR_DB)
    assert kept is choose([Front("tiny", "b" * 64, tuple(equals))], Budget(), SNR_DB, minimum_uses=1)


def test_one_that_is_not_sensitive_stays_beside_a_better_one_that_is(measured):
    sensitive = measured((0.1,), accuracy=0.8, sensitive_below_db=5.0)
    robust, worse = measured((0.2,), accuracy=0.75), measured((0.3,), accuracy=0.7, sensitive_below_db=5.0)
    assert set(serviceable([sensitive, robust, worse], SNR_DB)) == {sensitive, robust}


def test_what_buys_no_accuracy_with_its_compute_goes(measured):
    cheap = measured((0.1,), accuracy=0.80, accuracy_se=0.01, edge_gmacs=0.5)
    lucky = measured((0.2,), accuracy=0.805, accuracy_se=0.01, edge_gmacs=0.6)
    better = measured((0.3,), accuracy=0.82, accuracy_se=0.01, edge_gmacs=0.6)
    assert worth_their_compute([lucky, cheap, better], SNR_DB) == (cheap, better)


@pytest.mark.parametrize(
    "changes",
    [
        {"edge_gmacs": 0.52},
        {"channel_uses": 40.0},
        {"channel_uses_p95": 60},
    ],
    ids=["hardly more compute", "fewer uses", "a lower quantile"],
)
def test_what_the_cheaper_one_lacks_is_kept(measured, changes):
    usual = {"accuracy_se": 0.01, "channel_uses": 50.0, "channel_uses_p95": 64}
    cheap = measured((0.1,), accuracy=0.80, edge_gmacs=0.5, **usual)
    other = measured((0.2,), accuracy=0.805, **usual | {"edge_gmacs": 0.6} | changes)
    assert worth_their_compute([cheap, other], SNR_DB) == (cheap, other)


def test_a_sensitive_one_replaces_none_that_is_not(measured):
    sensitive = measured((0.1,), accuracy=0.8, accuracy_se=0.01, edge_gmacs=0.5, sensitive_below_db=15.0)
    robust = measured((0.2,), accuracy=0.8, accuracy_se=0.01, edge_gmacs=0.6)
    assert worth_their_compute([sensitive, robust], SNR_DB) == (sensitive, robust)
    assert worth_their_compute([sensitive, robust], 15.0) == (sensitive,)


def test_what_is_worse_than_no_answer_goes(measured):
    endless, fair = measured((0.1,), accuracy=-2.0, edge_gmacs=0.1), measured((0.2,), accuracy=0.3, edge_gmacs=0.6)
    assert worth_their_compute([endless, fair], SNR_DB) == (fair,)
    assert worth_their_compute([endless], SNR_DB) == (endless,)


def test_what_is_replaced_replaces_nothing(measured):
    steps = [
        measured((0.1 * k,), accuracy=0.80 + 0.008 * k, accuracy_se=0.01, edge_gmacs=0.5 * 1.2**k) for k in range(4)
    ]
    assert worth_their_compute(steps, SNR_DB) == (steps[0], steps[2])


@st.composite
def trials(draw, measured):
    # Coarse values make ties common, and SNRs that some curves lack.
    share = st.integers(0, 4).map(lambda step: step / 4)
    snrs_db = st.sampled_from([-5.0, 0.0, 5.0, 10.0, 20.0])
    figures = st.fixed_dictionaries(
        {
            "accuracy": share,
            "channel_uses": st.integers(1, 4).map(float),
            "channel_uses_p95": st.integers(4, 9),
            "edge_gmacs": st.integers(1, 3).map(lambda step: step / 7),
            "sensitive_below_db": st.none() | snrs_db,
            "curve": st.dictionaries(snrs_db, share, max_size=4).map(
                lambda curve: tuple((snr_db, accuracy, 0.01) for snr_db, accuracy in curve.items())
            ),
        }
    )
    rows = draw(st.lists(figures, min_size=1, max_size=10))
    return [measured((0.05 * index,), 4, **row) for index, row in enumerate(rows)]


budgets = st.builds(
    Budget,
    channel_uses=st.none() | st.integers(4, 10),
    edge_gmacs=st.none() | st.floats(0.1, 0.5),
    min_accuracy=st.none() | st.integers(0, 8).map(lambda step: step / 8 - 1e-9 if step else 0.0),
)


@given(st.data(), budgets, st.floats(-15, 30))
def test_a_choice_misses_nothing_that_was_dropped(measured, data, budget, snr_db):
    everything = data.draw(trials(measured))
    kept = serviceable(everything, SNR_DB)
    assert set(kept) <= set(everything)

    def chosen(policies):
        return choose([Front("tiny", "b" * 64, tuple(policies))], budget, snr_db, minimum_uses=4)

    try:
        best = chosen(everything)
    except BudgetError:
        with pytest.raises(BudgetError):
            chosen(kept)
        return
    # Interpolation rounds.
    assert chosen(kept).accuracy_at(snr_db) == pytest.approx(best.accuracy_at(snr_db), abs=1e-12)


@given(st.data(), st.floats(-15, 30))
def test_every_policy_has_one_that_stands_in_for_it(measured, data, snr_db):
    everything = data.draw(trials(measured))
    kept = worth_their_compute(everything, snr_db)
    for one in everything:
        assert any(
            other.accuracy_at(snr_db) >= one.accuracy_at(snr_db) - one.accuracy_se_at(snr_db)
            and other.objectives.edge_gmacs <= one.objectives.edge_gmacs
            and other.objectives.channel_uses_p95 <= one.objectives.channel_uses_p95
            for other in kept
        )
