import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.policy import ChannelForm, MeasuredPolicy, Policy
from thinwire.errors import InvalidRequestError

CURVE = ((0.0, 0.5, 0.02), (10.0, 0.7, 0.01), (20.0, 0.72, 0.01))

snr_points = st.tuples(st.floats(-30, 60), st.floats(0, 1), st.floats(0, 1))


@given(
    thresholds=st.lists(st.floats(-1, 2), min_size=1, max_size=4),
    symbols=st.integers(1, 64),
    curve=st.lists(snr_points, max_size=4, unique_by=lambda point: point[0]),
    limit=st.none() | st.integers(1, 64),
    below=st.none() | st.floats(-30, 60),
    accuracy=st.floats(0, 1),
    uses=st.floats(0, 1e6),
    latency=st.none() | st.floats(0, 1e6),
)
def test_json_keeps_everything(measured, thresholds, symbols, curve, limit, below, accuracy, uses, latency):
    before = measured(
        tuple(thresholds),
        symbols,
        tuple(curve),
        limit,
        below,
        accuracy=accuracy,
        channel_uses=uses,
        latency_ms=latency,
    )
    after = MeasuredPolicy.from_json(json.loads(json.dumps(before.to_json(), allow_nan=False)))
    assert after == before
    assert after.policy.digest == before.policy.digest


def test_the_json_form_has_the_members_that_lists_show(measured):
    content = measured(curve=CURVE).to_json()
    assert list(content) == [
        "id",
        "digest",
        "thresholds",
        "symbols_per_token",
        "max_tokens",
        "objectives",
        "accuracy_by_snr",
        "sensitive_below_db",
        "channel",
        "bundle_digest",
        "provenance",
    ]
    assert content["id"] == f"p-{content['digest'][:10]}"
    assert content["thresholds"] == [0.9, 0.8]
    assert content["accuracy_by_snr"][1] == {
        "snr_db": 10.0,
        "accuracy": 0.7,
        "accuracy_se": 0.01,
        "change": -0.03,
        "change_se": 0.004,
    }
    assert content["channel"] == {"model": "awgn", "snr_db": 10.0, "control_rate": 1.0}
    assert set(content["objectives"]) == {
        "accuracy",
        "accuracy_se",
        "n",
        "edge_gmacs",
        "channel_uses",
        "channel_uses_p95",
        "tokens",
        "tokens_sd",
        "capped_share",
        "accuracy_change",
        "accuracy_change_se",
        "latency_ms",
        "latency_ms_se",
    }


@pytest.mark.parametrize(
    ("snr_db", "accuracy"), [(-30, 0.5), (0, 0.5), (5, 0.6), (10, 0.7), (12.5, 0.705), (20, 0.72), (60, 0.72)]
)
def test_accuracy_is_interpolated_and_clamped(measured, snr_db, accuracy):
    assert measured(curve=CURVE, accuracy=0.1).accuracy_at(snr_db) == pytest.approx(accuracy)


@pytest.mark.parametrize(("snr_db", "error"), [(-30, 0.02), (0, 0.02), (5, 0.015), (10, 0.01), (60, 0.004)])
def test_its_standard_error_is_interpolated_likewise(measured, snr_db, error):
    curve = ((0.0, 0.5, 0.02), (10.0, 0.7, 0.01), (20.0, 0.72, 0.004))
    assert measured(curve=curve, accuracy_se=0.5).accuracy_se_at(snr_db) == pytest.approx(error)


def test_accuracy_without_a_curve_is_the_objective(measured):
    assert measured(accuracy=0.64).accuracy_at(-5.0) == 0.64
    assert measured(accuracy_se=0.03).accuracy_se_at(-5.0) == 0.03


def test_a_policy_is_sensitive_below_its_limit_only(measured):
    flagged = measured(sensitive_below_db=5.0)
    assert [flagged.is_sensitive_at(snr_db) for snr_db in (-30.0, 4.99, 5.0, 60.0)] == [True, True, False, False]
    assert not measured().is_sensitive_at(-30.0)


@pytest.mark.parametrize("curve", [CURVE, ()])
def test_accuracy_at_no_snr_is_refused(measured, curve):
    with pytest.raises(InvalidRequestError, match="snr_db"):
        measured(curve=curve).accuracy_at(math.nan)


def test_the_curve_is_kept_by_rising_snr(measured):
    assert [point.snr_db for point in measured(curve=CURVE[::-1]).accuracy_by_snr] == [0.0, 10.0, 20.0]


def test_an_snr_twice_is_refused(measured):
    with pytest.raises(InvalidRequestError, match="SNR twice"):
        measured(curve=(CURVE[0], (0.0, 0.6, 0.02)))


def test_numpy_figures_become_plain_numbers(measured):
    figures = measured(accuracy=np.float32(0.5), n=np.int64(10)).objectives
    assert type(figures.accuracy) is float
    assert type(figures.n) is int


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accuracy", 1.01),
        ("accuracy", math.nan),
        ("accuracy_se", -0.1),
        ("capped_share", 2),
        ("edge_gmacs", math.inf),
        ("n", 0),
        ("channel_uses_p95", 0),
        ("channel_uses_p95", 12.5),
        ("tokens", "12"),
    ],
)
def test_an_objective_out_of_range_is_refused(measured, name, value):
    with pytest.raises(InvalidRequestError, match=f"objectives.{name} must be"):
        measured(**{name: value})


@pytest.mark.parametrize("arguments", [("", 10.0), ("awgn", math.inf), ("awgn", 10.0, 2.0)])
def test_a_channel_out_of_range_is_refused(arguments):
    with pytest.raises(InvalidRequestError, match="channel"):
        ChannelForm(*arguments)


@pytest.mark.parametrize("thresholds", [(1.5, 0.8), (0.12345678, 0.8)])
def test_a_policy_that_is_not_canonical_is_refused(measured, thresholds):
    sample = measured()
    with pytest.raises(InvalidRequestError, match=r"Policy\.create"):
        MeasuredPolicy(Policy(thresholds, 8), sample.bundle_digest, sample.channel, sample.objectives)


@pytest.mark.parametrize("provenance", [{"seed": math.nan}, {"seed": object()}, [1]])
def test_a_provenance_that_is_no_json_object_is_refused(measured, provenance):
    sample = measured()
    with pytest.raises(InvalidRequestError, match="provenance must be"):
        MeasuredPolicy(sample.policy, sample.bundle_digest, sample.channel, sample.objectives, provenance=provenance)


def test_later_changes_to_the_provenance_stay_outside(measured):
    sample = measured()
    provenance = {"versions": {"thinwire": "1"}}
    record = MeasuredPolicy(
        sample.policy, sample.bundle_digest, sample.channel, sample.objectives, provenance=provenance
    )
    provenance["versions"]["thinwire"] = "2"
    assert record.provenance == {"versions": {"thinwire": "1"}}


def _set(path, value):
    def change(content):
        *parents, last = path
        for name in parents:
            content = content[name]
        content[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.pop("objectives"), "objectives is missing"),
        (_set(["surprise"], 1), "surprise is unknown"),
        (_set(["id"], "p-0000000000"), "was altered"),
        (_set(["digest"], "0" * 64), "was altered"),
        (_set(["thresholds", 0], 0.5), "was altered"),
        (_set(["symbols_per_token"], 16), "was altered"),
        (_set(["thresholds"], "0.9"), "thresholds must be a list"),
        (_set(["thresholds", 1], "0.8"), r"thresholds\.1 must be a number"),
        (_set(["symbols_per_token"], 8.5), "symbols_per_token must be a whole number"),
        (_set(["objectives"], [1]), r"objectives must be .*, got \[1\]"),
        (_set(["objectives", "n"], "many"), r"objectives\.n must be a whole number"),
        (_set(["objectives", "speed"], 1), r"objectives\.speed is unknown"),
        (_set(["accuracy_by_snr"], {}), "accuracy_by_snr must be a list"),
        (_set(["accuracy_by_snr", 0, "accuracy"], 7), r"accuracy_by_snr\.0\.accuracy must be at most 1, got 7"),
        (_set(["channel", "model"], 3), r"channel\.model must be a text"),
        (_set(["bundle_digest"], None), "bundle_digest must be a text"),
        (_set(["provenance"], []), "provenance must be an object"),
    ],
)
def test_wrong_json_is_refused_by_name(measured, change, message):
    content = copy.deepcopy(measured(curve=CURVE).to_json())
    change(content)
    with pytest.raises(InvalidRequestError, match=message):
        MeasuredPolicy.from_json(content)


def test_a_rewriter_that_shortens_numbers_alters_nothing(measured):
    before = measured((1.0, 0.5))
    assert MeasuredPolicy.from_json(before.to_json() | {"thresholds": [1, 0.5]}) == before
