"""How a clip is to be decoded."""

import math

import pytest

from thinwire.errors import InvalidRequestError
from thinwire.transcription import TranscriptionOptions
from thinwire.v1 import link_pb2


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
        ({"language": "a" * 65}, "language String should have at most 64 characters"),
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


ALL = TranscriptionOptions(
    language="german",
    task="translate",
    prompt="eins zwei",
    timestamps=True,
    temperatures=(0.3, 2.0),
    beams=16,
    seed=2**64 - 1,
    max_new_tokens=7,
    compression_ratio_threshold=1.5,
    logprob_threshold=-0.25,
    no_speech_threshold=0.125,
)
NONE = TranscriptionOptions(compression_ratio_threshold=None, logprob_threshold=None, no_speech_threshold=None, seed=0)


@pytest.mark.parametrize("options", [TranscriptionOptions(), ALL, NONE], ids=["default", "all", "none"])
def test_across_the_link(options):
    message = link_pb2.Transcription.FromString(options.to_message(2.5).SerializeToString())
    assert message.seconds == 2.5
    assert TranscriptionOptions.from_message(message) == options


@pytest.mark.parametrize(("seconds", "most"), [(0.0, 16), (3.01, 47), (20.8, 224), (30.0, 224)])
def test_most_tokens_follow_from_the_time(seconds, most):
    assert TranscriptionOptions().most_tokens(seconds) == most
    assert TranscriptionOptions(max_new_tokens=400).most_tokens(seconds) == 400


def test_what_a_frame_leaves_out():
    assert TranscriptionOptions.from_message(link_pb2.Transcription()) == TranscriptionOptions()


@pytest.mark.parametrize(
    "message",
    [
        link_pb2.Transcription(task="sing"),
        link_pb2.Transcription(temperatures=[math.inf]),
        link_pb2.Transcription(beams=17),
        link_pb2.Transcription(compression_ratio_threshold=0),
        link_pb2.Transcription(logprob_threshold=math.nan),
        link_pb2.Transcription(no_speech_threshold=-math.inf),
    ],
    ids=repr,
)
def test_what_a_frame_may_not_ask_for(message):
    with pytest.raises(InvalidRequestError, match=" must be "):
        TranscriptionOptions.from_message(message)
