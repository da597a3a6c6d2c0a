"""What a request may say, bound by bound."""

import json

import pytest
from pydantic import ValidationError

from thinwire.generation import Generation
from thinwire.rest.schemas import (
    BudgetBody,
    ChannelBody,
    ClassifyBody,
    ClassifyResponse,
    GenerationParameters,
    Parameters,
    QuestionInputs,
    QuestionsBody,
    VqaBody,
    VqaParameters,
    VqaResponse,
)


def accepts(kind, **fields):
    try:
        kind.model_validate_json(json.dumps(fields))
    except ValidationError:
        return False
    return True


def test_what_is_left_out():
    parameters = ClassifyBody.model_validate({"inputs": ""}).parameters
    assert parameters == Parameters()
    assert (parameters.top_k, parameters.policy, parameters.channel) == (5, "auto", None)
    assert parameters.timeout_ms == 30_000
    assert parameters.budget == BudgetBody()
    assert set(parameters.budget.model_dump().values()) == {None}
    assert ChannelBody().model_dump() == {"model": "", "snr_db": None, "seed": None, "csi": ""}


def test_defaults_are_not_shared():
    assert Parameters().budget is not None
    first, second = Parameters(), Parameters()
    first.budget.channel_uses = 3
    assert second.budget.channel_uses is None


@pytest.mark.parametrize(
    ("model", "field", "good", "bad"),
    [
        (Parameters, "top_k", [1, 1000], [0, -1, 1001, 2.5, "many", None, [1]]),
        (Parameters, "policy", ["", "auto", "p" * 128], ["p" * 129, 3, None, ["auto"]]),
        (Parameters, "explain", [True, False], ["true", 1, None]),
        (Parameters, "timeout_ms", [0.001, 600_000], [0, -1, 600_001, "soon", None]),
        (Parameters, "channel", [None, {}], ["awgn", [], 10]),
        (Parameters, "budget", [{}], [None, 64, []]),
        (BudgetBody, "channel_uses", [1, 2**40, None], [0, -1, 1.5, "few"]),
        (BudgetBody, "bandwidth_hz", [1e-9, 1e9, None], [0, -1.0, "wide"]),
        (BudgetBody, "airtime_ms", [1e-9, 1e9, None], [0, -1.0]),
        (BudgetBody, "edge_gmacs", [1e-9, 1e9, None], [0, -1.0]),
        (BudgetBody, "min_accuracy", [0, 0.5, 1, None], [-0.001, 1.001]),
        (VqaParameters, "max_new_tokens", [1, 256], [0, 257, 2.5, "many", None]),
        (VqaParameters, "temperature", [0, 0.5, 2], [-0.1, 2.1, "hot", None]),
        (VqaParameters, "top_p", [1e-9, 1], [0, 1.01, "all", None]),
        (VqaParameters, "seed", [0, 2**64 - 1, None], [-1, 2**64, 0.5]),
        (VqaParameters, "policy", ["auto", "p" * 128], ["p" * 129]),
        (GenerationParameters, "timeout_ms", [0.001, 600_000], [0, 600_001]),
        (QuestionInputs, "question", ["a", "é" * 2000], ["", "a" * 2001, None, 1, ["a"]]),
        (ChannelBody, "model", ["", "m" * 128], ["m" * 129, None, 1]),
        (ChannelBody, "csi", ["", "c" * 128], ["c" * 129, None, 1]),
        (ChannelBody, "snr_db", [-30, 0, 60, None], [-30.001, 60.001, "high"]),
        (ChannelBody, "seed", [0, 2**64 - 1, None], [-1, 2**64, 0.5]),
    ],
)
def test_bounds(model, field, good, bad):
    for value in good:
        assert accepts(model, **{field: value}), value
    for value in bad:
        assert not accepts(model, **{field: value}), value


NUMBERS = [
    (Parameters, "timeout_ms"),
    (Parameters, "top_k"),
    (BudgetBody, "channel_uses"),
    (BudgetBody, "bandwidth_hz"),
    (BudgetBody, "airtime_ms"),
    (BudgetBody, "edge_gmacs"),
    (BudgetBody, "min_accuracy"),
    (ChannelBody, "snr_db"),
    (ChannelBody, "seed"),
    (VqaParameters, "max_new_tokens"),
    (VqaParameters, "temperature"),
    (VqaParameters, "top_p"),
    (VqaParameters, "seed"),
]


@pytest.mark.parametrize(("model", "field"), NUMBERS)
@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999", '"NaN"', '"inf"'])
def test_no_number_is_infinite_or_none(model, field, value):
    with pytest.raises(ValidationError):
        model.model_validate_json(f'{{"{field}": {value}}}')


@pytest.mark.parametrize(("model", "field"), NUMBERS)
@pytest.mark.parametrize("value", ["true", '"1"', "[1]", "{}"])
def test_what_is_no_number_is_not_made_one(model, field, value):
    with pytest.raises(ValidationError):
        model.model_validate_json(f'{{"{field}": {value}}}')


@pytest.mark.parametrize("model", [Parameters, BudgetBody, ChannelBody, VqaParameters, GenerationParameters])
def test_what_is_misspelt_is_refused(model):
    assert not accepts(model, topk=1)
    assert not accepts(ClassifyBody, inputs="", topk=1)


def test_inputs_are_needed():
    assert not accepts(ClassifyBody)
    assert not accepts(ClassifyBody, inputs=None)
    assert not accepts(ClassifyBody, inputs=[1])


def test_what_is_left_out_of_a_question():
    body = VqaBody.model_validate({"inputs": {"image": "", "question": "q"}})
    assert (body.parameters.policy, body.parameters.timeout_ms) == ("auto", 30_000)
    assert body.parameters.generation == Generation(16, 0.0, 1.0, None)
    assert QuestionsBody.model_validate({"inputs": {"question": "q"}}).stream is False


def test_what_concerns_the_link_has_no_place_in_a_question_about_a_frame():
    for name in ("policy", "budget", "channel", "top_k"):
        assert not accepts(GenerationParameters, **{name: None})


@pytest.mark.parametrize("response", [ClassifyResponse, VqaResponse])
def test_a_response_shows_every_member_but_explain_always(response):
    names = {"id", "outputs", "policy", "link", "cost", "timings_ms"}
    schema = response.model_json_schema()
    assert set(schema["required"]) == set(schema["properties"]) - {"explain"} == names
