"""How a clip is to be decoded."""

import math

import pytest

from thinwire.errors import InvalidRequestError
from thinwire.transcription import TranscriptionOptions


def test_the_defaults_are_those_of_openai():
    asked = TranscriptionOptions()
    assert asked.temperatures == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert (asked.compression_ratio_threshold, asked.logprob_threshold, asked.no_speech_threshold) == (2.4, -1.0, 0.6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "sing"}, "task must be 'transcribe' or 'translate', got 'sing'"),
        ({"prompt": "a" * 2001}, "a prompt may have up to 2000 characters, got 2001"),
        ({"temperatures": ()}, "temperatures must have at least 1 item"),
        ({"temperatures": (0.0, -0.1)}, "temperatures.1 must be at least 0, got -0.1"),
        ({"temperatures": (2.1,)}, "temperatures.0 must be at most 2, got 2.1"),
        ({"temperatures": (math.nan,)}, "temperatures.0 must be a finite number"),
        ({"beams": 0}, "beams must be at least 1, got 0"),
        ({"beams": 17}, "beams must be at most 16, got 17"),
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
        ({"timestamps": "yes"}, "timestamps must be a valid boolean"),
        ({"compression_ratio_threshold": 0.0}, "compression_ratio_threshold must be above 0"),
    ],
)
def test_what_is_out_of_range(changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        TranscriptionOptions(**changes)
