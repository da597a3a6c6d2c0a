"""The fields of a request to write down a clip: from forms as clients write them to options."""

import pytest

from thinwire.errors import InvalidRequestError
from thinwire.rest.schemas import BudgetBody, ChannelBody
from thinwire.rest.transcriptions import PARTS, TranscriptionBody, form_fields
from thinwire.transcription import TranscriptionOptions

FORM = [
    ("model", "5"),
    ("prompt", "true"),
    ("language", "de"),
    ("temperature", "1"),
    ("response_format", "verbose_json"),
    ("timestamp_granularities[]", "segment"),
    ("timestamp_granularities[]", "word"),
    ("stream", "false"),
    ("policy", "none"),
    ("budget[channel_uses]", "300"),
    ("budget[airtime_ms]", "2.5"),
    ("channel", '{"model": "awgn", "snr_db": 10}'),
    ("timeout_ms", "5000"),
    ("id", " "),
]


def test_a_form_as_openais_clients_write_it():
    body = TranscriptionBody.model_validate(form_fields(FORM))
    assert (body.model, body.prompt, body.language, body.temperature) == ("5", "true", "de", 1.0)
    assert (body.id, body.stream, body.timestamp_granularities) == (None, False, ["segment", "word"])
    assert (body.policy, body.budget) == ("none", BudgetBody(channel_uses=300, airtime_ms=2.5))
    assert (body.channel, body.timeout_ms) == (ChannelBody(model="awgn", snr_db=10.0), 5_000)
    assert {name for name, _ in FORM} <= set(PARTS)


def test_a_form_without_anything_else():
    body = TranscriptionBody.model_validate(form_fields([("prompt", ""), ("temperature", "\n")]))
    assert body == TranscriptionBody()
    assert body.options == TranscriptionOptions()


@pytest.mark.parametrize("order", [1, -1])
def test_an_object_in_two_forms(order):
    parts = [("budget", '{"channel_uses": 3}'), ("budget[channel_uses]", "300")]
    with pytest.raises(InvalidRequestError, match="budget comes in one part of JSON or in parts") as raised:
        form_fields(parts[::order])
    assert raised.value.param == "budget"


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, "{", "nan", "\ud800"])
def test_what_is_no_json_is_told_by_its_field(text):
    assert form_fields([("temperature", text)]) == {"temperature": text}


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ({"temperature": 0.25}, {"temperatures": (0.25,)}),
        ({"stream": True}, {"temperatures": (0.0,)}),
        ({"response_format": "text"}, {}),
        ({"response_format": "srt"}, {"timestamps": True}),
        ({"response_format": "vtt"}, {"timestamps": True}),
        ({"response_format": "verbose_json", "language": "", "prompt": "a"}, {"timestamps": True, "prompt": "a"}),
    ],
)
def test_options(fields, options):
    assert TranscriptionBody(**fields).options == TranscriptionOptions(**options)
