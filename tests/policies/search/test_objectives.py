"""Utilities and their variances, by hand."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from policies.search.objectives import Scale
from thinwire.errors import InvalidRequestError
from thinwire.records import read


def test_utilities_and_variances_by_hand(measured):
    scale = Scale(("accuracy", "edge_gmacs", "channel_uses"), (-0.1, 2.0, 400.0), (0.0, 0.5, 1.0))
    figures = measured(accuracy_change=-0.02, accuracy_change_se=0.005, edge_gmacs=1.5, channel_uses=100.0).objectives
    np.testing.assert_allclose(scale.utilities(figures), [0.8, 1 / 3, math.log(4) / math.log(400)])
    np.testing.assert_allclose(scale.variances(figures), [0.0025, 0, 0], atol=1e-15)


def test_the_unmerged_reference_is_the_worst_of_costs(measured):
    unmerged = measured(accuracy_change=0.0, edge_gmacs=4.6, channel_uses=1040.0, tokens=65.0).objectives
    scale = Scale.of_unmerged(["accuracy", "edge_gmacs", "channel_uses", "tokens"], unmerged)
    assert scale.worst == (-0.1, 4.6, 1040.0, 65.0)
    assert scale.best == (0.0, 0.0, 1.0, 1.0)
    np.testing.assert_allclose(scale.utilities(unmerged), [1, 0, 0, 0])


def test_a_latency_is_noisy_and_must_have_been_measured(measured):
    figures = measured(latency_ms=10.0, latency_ms_se=2.0).objectives
    scale = Scale.of_unmerged(["tokens", "latency_ms"], figures)
    assert scale.variances(figures)[1] == pytest.approx(0.04)
    with pytest.raises(InvalidRequestError, match="latency_ms was not measured"):
        Scale.of_unmerged(["accuracy", "latency_ms"], measured().objectives)
    for reading in (scale.utilities, scale.variances):
        with pytest.raises(InvalidRequestError, match="latency_ms was not measured"):
            reading(measured().objectives)


@pytest.mark.parametrize(
    ("names", "worst", "best", "reason"),
    [
        (("accuracy",), (-0.1,), (0.0,), "two or more"),
        (("accuracy", "accuracy"), (-0.1, -0.1), (0.0, 0.0), "different"),
        (("accuracy", "speed"), (-0.1, 1.0), (0.0, 0.0), "got accuracy, speed"),
        (("accuracy", "tokens"), (0.0, 1.0), (-0.1, 0.0), "accuracy: the worst"),
        (("accuracy", "tokens"), (-0.1, 1.0), (0.0, 1.0), "tokens: the worst"),
        (("accuracy", "tokens"), (-0.1, 1.0), (0.0, 2.0), "tokens: the worst"),
        (("accuracy", "tokens"), (-0.1, 1.0), (0.0, 0.0), "tokens: ratios count"),
        (("accuracy", "tokens"), (-0.1,), (0.0, 2.0), "as many"),
        (("accuracy", "tokens"), (-0.1, float("nan")), (0.0, 0.0), "tokens: the worst"),
    ],
)
def test_a_scale_that_makes_no_sense_is_refused(names, worst, best, reason):
    with pytest.raises(InvalidRequestError, match=reason):
        Scale(names, worst, best)


def test_unknown_objectives_of_a_model_are_refused(measured):
    with pytest.raises(InvalidRequestError, match="got accuracy, speed"):
        Scale.of_unmerged(["accuracy", "speed"], measured().objectives)


def test_the_json_form_makes_the_same_scale(measured):
    scale = Scale.of_unmerged(["accuracy", "tokens"], measured().objectives)
    assert read(Scale, json.loads(json.dumps(asdict(scale)))) == scale
