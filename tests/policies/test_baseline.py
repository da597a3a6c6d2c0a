import json
import math
from dataclasses import asdict

import pytest

from policies.study import Baseline
from thinwire.errors import InvalidRequestError
from thinwire.records import read


def test_json_keeps_everything(measured):
    before = Baseline("tome", {"r": 4, "layers": (0, 1), "note": None}, measured(latency_ms=1 / 3).objectives)
    assert read(Baseline, json.loads(json.dumps(asdict(before), allow_nan=False))) == before
    assert before.parameters["layers"] == [0, 1]


def test_the_order_of_parameters_makes_no_other_baseline(measured):
    one, other = (Baseline("tome", given, measured().objectives) for given in ({"a": 1, "b": 2}, {"b": 2, "a": 1}))
    assert one.parameters_digest == other.parameters_digest
    assert one.parameters_digest != Baseline("tome", {"a": 1}, measured().objectives).parameters_digest


@pytest.mark.parametrize(
    ("family", "parameters", "message"),
    [
        ("", {}, "baseline.family must be a text"),
        (None, {}, "baseline.family must be a text"),
        ("tome", [4], "baseline.parameters must be an object"),
        ("tome", {"r": math.inf}, "baseline.parameters must be JSON"),
    ],
)
def test_what_makes_no_sense_is_refused(measured, family, parameters, message):
    with pytest.raises(InvalidRequestError, match=message):
        Baseline(family, parameters, measured().objectives)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, r"baseline\.surprise is unknown"),
        ({"objectives": {}}, r"objectives\.accuracy is missing"),
        ({"objectives": []}, r"objectives must be .*, got \[\]"),
        ({"family": 3}, "baseline.family must be a text"),
    ],
)
def test_wrong_json_is_refused_by_name(measured, change, message):
    content = asdict(Baseline("tome", {}, measured().objectives)) | change
    with pytest.raises(InvalidRequestError, match=message):
        read(Baseline, content, "baseline")
