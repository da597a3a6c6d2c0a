"""Transcripts in each of OpenAI's forms, to the letter."""

import json

from thinwire.audio import Segment, Transcript, Word, joined
from thinwire.audio.transcript import delta_event, done_event, to_json, to_srt, to_text, to_verbose_json, to_vtt
from thinwire.rest.events import event
from thinwire.v1 import link_pb2

SPOKEN = Transcript(
    segments=(
        Segment(0.0, 1.96, " One two --> three,", seek=0, tokens=(530, 732), avg_logprob=-0.25, no_speech_prob=0.01),
        Segment(1.96, 2.0, " "),
        Segment(59.9996, 3_723.5, " four & five\n\n <six>", seek=3_000, temperature=0.2),
    ),
    language="english",
    duration_s=3_724.25,
    words=(Word(0.0, 0.5, "One"), Word(0.5, 1.0, "two")),
)
SILENT = Transcript((), "english", 2.5)
TEXT = "One two --> three,  four & five\n\n <six>"
USAGE = {"type": "duration", "seconds": 3_724.25}


def test_json_and_text():
    assert to_json(SPOKEN) == {"text": TEXT, "usage": USAGE}
    assert to_text(SPOKEN) == TEXT + "\n"
    assert to_json(SILENT)["text"] == ""
    assert to_text(SILENT) == "\n"


def test_verbose_json():
    body = to_verbose_json(SPOKEN, ("segment", "word"))
    assert list(body) == ["task", "language", "duration", "text", "words", "segments", "usage"]
    assert json.loads(json.dumps(body)) == body
    assert (body["task"], body["language"], body["duration"]) == ("transcribe", "english", 3_724.25)
    assert (body["text"], body["usage"]) == (TEXT, USAGE)
    assert body["words"] == [{"word": "One", "start": 0.0, "end": 0.5}, {"word": "two", "start": 0.5, "end": 1.0}]
    assert [segment["id"] for segment in body["segments"]] == [0, 1, 2]
    # 19 bytes, to which zlib adds 11 at most: a head of 2, one of 5 for the block, a sum of 4.
    ratio = body["segments"][0].pop("compression_ratio")
    assert 19 / 30 <= ratio < 1
    assert body["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": 1.96,
        "text": " One two --> three,",
        "tokens": [530, 732],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "no_speech_prob": 0.01,
    }
    assert (body["segments"][2]["seek"], body["segments"][2]["temperature"]) == (3_000, 0.2)


def test_repeated_text_is_seen_by_its_compression():
    body = to_verbose_json(Transcript((Segment(0, 9, " one two" * 50), Segment(9, 9, "")), "english", 9.0))
    repeated, empty = body["segments"]
    assert repeated["compression_ratio"] > 2.4
    assert empty["compression_ratio"] == 0


def test_verbose_json_lists_what_was_asked_for():
    assert "words" not in to_verbose_json(SPOKEN)
    assert "segments" not in to_verbose_json(SPOKEN, ("word",))
    assert to_verbose_json(SILENT, ("segment", "word"))["segments"] == []


def test_srt_has_commas_numbers_and_no_arrow_in_its_text():
    assert to_srt(SPOKEN) == (
        "1\n00:00:00,000 --> 00:00:01,960\nOne two -> three,\n\n2\n00:01:00,000 --> 01:02:03,500\nfour & five <six>\n\n"
    )
    assert to_srt(SILENT) == ""


def test_vtt_has_points_a_head_and_escapes():
    assert to_vtt(SPOKEN) == (
        "WEBVTT\n\n"
        "00:00:00.000 --> 00:00:01.960\nOne two --&gt; three,\n\n"
        "00:01:00.000 --> 01:02:03.500\nfour &amp; five &lt;six&gt;\n\n"
    )
    assert to_vtt(SILENT) == "WEBVTT\n\n"


def test_events_of_a_stream():
    assert event(delta_event(" two")) == 'data: {"type": "transcript.text.delta", "delta": " two"}\n\n'
    assert event(done_event("One two")) == 'data: {"type": "transcript.text.done", "text": "One two"}\n\n'


def test_windows_are_joined_where_they_stand_in_the_clip():
    first = link_pb2.Transcript(
        segments=[
            link_pb2.Segment(start=0.5, end=2, text=" One", tokens=[530, 50_400]),
            link_pb2.Segment(start=2, end=30, text=" two", tokens=[732]),
        ],
        language="german",
        temperature=0.5,
        avg_logprob=-0.25,
        no_speech_prob=0.125,
    )
    silence = link_pb2.Transcript(language="english", no_speech_prob=1)
    last = link_pb2.Transcript(segments=[link_pb2.Segment(end=1.5, text=" three")], language="english")
    heard = joined([(0.0, silence), (30.0, first), (60.0, silence), (90.0, last)], 91.5)
    assert (heard.text, heard.language, heard.duration_s) == ("One two three", "german", 91.5)
    assert heard.segments == (
        Segment(30.5, 32.0, " One", 3_000, (530, 50_400), 0.5, -0.25, 0.125),
        Segment(32.0, 60.0, " two", 3_000, (732,), 0.5, -0.25, 0.125),
        Segment(90.0, 91.5, " three", 9_000),
    )
    assert joined([(0.0, silence)], 2.5) == SILENT
    assert joined([(0.0, silence), (30.0, silence)], 2.5) == SILENT
