"""``thinwire transcribe``, and ``thinwire stream`` of sound, against something that answers like an edge."""

import io
import json
import signal
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from deploy.cli.main import main
from tests.answers import standing_in, transcript_body
from tests.sounds import float_wav, wav
from thinwire.audio import decode
from thinwire.rest.problems import openai_body
from thinwire.rest.schemas import ModelBody

MODEL = {"digest": "d", "labels": [], "input_size": None, "split_layer": 2, "depth": 2, "rates": [4]}
SPEECH = ModelBody(name="speech", task="transcription", patches=100, **MODEL)
SEEING = ModelBody(name="seeing", task="vqa", patches=16, **MODEL)
# Which answers every path: the fields of another are not looked at.
SERVED = transcript_body() | {"models": [SEEING.model_dump(), SPEECH.model_dump()]}


@pytest.fixture(name="edge")
def edge_fixture():
    with standing_in() as server:
        server.response = (200, {}, json.dumps(SERVED).encode())
        yield server


@pytest.fixture(name="clip")
def clip_fixture(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(np.linspace(-0.5, 0.5, 40_000), 16_000))
    return path


def fields_of(body):
    """The parts of a form, by name."""
    boundary, parts = body.partition(b"\r\n")[0], {}
    for part in body.split(boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        parts[head.partition(b'name="')[2].partition(b'"')[0].decode()] = content[:-2]
    return parts


def transcribe(edge, clip, *arguments):
    return main(["transcribe", str(clip), "--url", edge.url, *arguments])


def test_text_and_its_cost_apart(edge, clip, capsys):
    assert transcribe(edge, clip) == 0
    told = capsys.readouterr()
    assert told.out == "one two\n"
    assert told.err == "1.5 s in 1 windows: 4 tokens, 24 channel uses\n"


def test_forms(edge, clip, capsys):
    assert transcribe(edge, clip, "--format", "srt") == 0
    assert capsys.readouterr().out == "1\n00:00:00,000 --> 00:00:01,500\none two\n\n"
    assert transcribe(edge, clip, "--format", "vtt") == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:00.000 --> ")
    for asked in (["--json"], ["--format", "json"]):
        assert transcribe(edge, clip, *asked) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["file"], found["text"], found["link"]["channel_uses"]) == (str(clip), "one two", 24)


def test_what_is_asked_reaches_the_edge(edge, clip):
    given = {"--language": "de", "--prompt": "eins", "--temperature": "0.5", "--timeout": "60", "--policy": "none"}
    given |= {"--budget-channel-uses": "38", "--snr": "5", "--seed": "7", "--model": "speech", "--id": "mine"}
    assert transcribe(edge, clip, *(word for pair in given.items() for word in pair)) == 0
    path, headers, body = edge.asked[-1]
    asked = fields_of(body)
    assert (path, headers["idempotency-key"]) == ("/v1/audio/transcriptions", "mine")
    assert asked.pop("file") == clip.read_bytes()
    assert {name: value.decode() for name, value in asked.items()} == {
        **{"response_format": "verbose_json", "language": "de", "prompt": "eins", "temperature": "0.5"},
        **{"timeout_ms": "60000.0", "policy": "none", "model": "speech"},
        **{"budget": '{"channel_uses": 38}', "channel": '{"snr_db": 5.0, "seed": 7}'},
    }


def test_an_error_is_one_line(edge, clip, capsys, tmp_path):
    assert transcribe(edge, tmp_path / "none.wav") == 1
    assert capsys.readouterr().err.startswith("thinwire: invalid_request: cannot read ")
    from thinwire.errors import InvalidRequestError

    edge.response = (422, {}, json.dumps(openai_body(InvalidRequestError("no audio"))).encode())
    assert transcribe(edge, clip) == 1
    assert capsys.readouterr().err == "thinwire: invalid_request: no audio\n"


def stream(edge, source, *arguments):
    return main(["stream", str(source), "--url", edge.url, *arguments])


def heard(edge):
    """Samples of each request but the first, which asks for the models."""
    assert edge.asked[0][0] == "/v1/models"
    return [decode(fields_of(body)["file"]) for _, _, body in edge.asked[1:]]


def test_a_file_with_what_came_so_far(edge, clip, capsys):
    assert stream(edge, clip, "--json", "--budget-channel-uses", "38", "--language", "en", "--every", "0.5") == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # A window of two seconds, and a half of one.
    assert [(line["window"], line["start"], line["end"], line["final"]) for line in lines] == [
        *((0, 0.0, end, end == 2.0) for end in (0.5, 1.0, 1.5, 2.0)),
        *((1, 2.0, 2.5, final) for final in (False, True)),
    ]
    assert {(line["text"], line["link"]["channel_uses"]) for line in lines} == {("one two", 24)}
    sent = heard(edge)
    # The stream ended with what was written down already.
    assert [len(one) for one in sent] == [8_000, 16_000, 24_000, 32_000, 8_000]
    whole = decode(clip.read_bytes())
    assert all(np.array_equal(one, whole[: len(one)]) for one in sent[:4])
    assert np.array_equal(sent[4], whole[32_000:])
    assert fields_of(edge.asked[-1][2])["language"] == b"en"
    assert last["summary"] == {
        **{"seconds": 2.5, "windows": 2, "requests": 5, "lost": 0, "channel_uses": 120},
        "text": "one two one two",
    }


def test_lines_for_people(edge, clip, capsys):
    assert stream(edge, clip) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1.0", "2.0", "2.5", "2.5"]
    assert ["..." in line for line in lines] == [True, False, True, False]
    assert last == "2.5 s in 2 windows (0 requests lost); 3 requests, 72 channel uses"


def test_a_microphone_on_standard_input(edge):
    command = [sys.executable, "-m", "deploy.cli.main", "stream", "-", "--url", edge.url, "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for second in range(2):
            process.stdin.write(np.full(16_000, second, "<i2").tobytes())
            process.stdin.flush()
            line = json.loads(process.stdout.readline())
            assert (line["end"], line["final"]) == (second + 1.0, second == 1)
        process.stdin.write(np.full(12_000, 2, "<i2").tobytes())
        process.stdin.close()
        lines = [json.loads(line) for line in process.stdout]
        assert process.stderr.read() == b""
    assert process.returncode == 0
    assert [(line["window"], line["end"], line["final"]) for line in lines[:-1]] == [(1, 2.75, False), (1, 2.75, True)]
    assert lines[-1]["summary"]["requests"] == 3
    assert [len(one) for one in heard(edge)] == [16_000, 32_000, 12_000]


def test_an_interrupt_ends_with_the_summary(edge):
    command = [sys.executable, "-m", "deploy.cli.main", "stream", "-", "--url", edge.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdin.write(bytes(32_000))
        process.stdin.flush()
        assert process.stdout.readline().split()[0] == b"1.0"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        # What was told of the window that had begun counts.
        assert process.stdout.read() == b"1.0 s in 1 windows (0 requests lost); 1 requests, 24 channel uses\n"
        assert process.stderr.read() == b""


@pytest.fixture(name="pipe")
def pipe_fixture(monkeypatch):
    """Puts bytes on this process's standard input."""

    def put(data):
        stdin = SimpleNamespace(FileIO=lambda *_, **__: io.BytesIO(data))
        monkeypatch.setattr("deploy.cli.stream_sound.io", stdin)

    return put


REFUSED = {
    "two": (["a.wav", "b.wav"], "sound comes from one source, got 2"),
    "mixed": (["a.wav", "b.png"], "sound comes from one source, got 2"),
    "fps": (["a.wav", "--fps", "4"], "--fps is of pictures, and a.wav is sound"),
    "limit": (["-", "--limit", "4"], "--limit is of pictures, and - is sound"),
    "switch": (["-", "--switch", "4:none"], "--switch is of pictures"),
    "language": (["a.png", "--language", "de"], "--language is of sound, and a.png is none"),
    "every": (["a.png", "--every", "2"], "--every is of sound"),
    "no such file": (["none.wav"], "cannot read none.wav"),
    "no such model": (["a.wav", "--model", "seeing"], "serves no model 'seeing' that writes down speech"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_stream_is_one_line(edge, capsys, name):
    arguments, told = REFUSED[name]
    assert main(["stream", *arguments, "--url", edge.url]) == 1
    said = capsys.readouterr()
    assert told in said.err
    assert (len(said.err.splitlines()), said.out) == (1, "")


def test_an_edge_without_speech(edge, clip, capsys):
    edge.response = (200, {}, json.dumps({"models": [SEEING.model_dump()]}).encode())
    assert stream(edge, clip) == 1
    assert "serves nothing that writes down speech" in capsys.readouterr().err


def test_a_stream_that_ends_within_a_sample_keeps_what_was_said(edge, pipe, capsys):
    pipe(bytes(16_001))
    assert stream(edge, "-", "--every", "0.5", "--json") == 1
    told = capsys.readouterr()
    summary = json.loads(told.out.splitlines()[-1])["summary"]
    assert (summary["seconds"], summary["windows"], summary["text"]) == (0.5, 1, "one two")
    assert "the stream ends within a sample" in told.err


def test_what_is_lost_is_told_and_the_stream_goes_on(edge, clip, capsys, monkeypatch):
    from thinwire.client import Client
    from thinwire.errors import FrameLostError

    send, numbers = Client.transcribe, iter(range(99))

    def losing(self, *arguments, **options):
        if next(numbers) in (1, 2):
            raise FrameLostError("gone")
        return send(self, *arguments, **options)

    monkeypatch.setattr(Client, "transcribe", losing)
    assert stream(edge, clip, "--json") == 0
    *lines, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # The last one is sent again, since nobody has written it down.
    assert [(line["end"], line["final"], line.get("error")) for line in lines] == [
        *((1.0, False, None), (2.0, True, "frame_lost"), (2.5, False, "frame_lost"), (2.5, True, None)),
    ]
    assert (last["summary"]["lost"], last["summary"]["requests"], last["summary"]["text"]) == (2, 4, "one two")
    monkeypatch.setattr(Client, "transcribe", lambda *_, **__: (_ for _ in ()).throw(FrameLostError("gone")))
    assert stream(edge, clip, "--every", "0.1") == 1
    assert "frame_lost: gone" in capsys.readouterr().err


def test_a_wav_of_another_kind_on_standard_input(edge, pipe, capsys):
    pipe(float_wav(np.zeros(100, np.float32), 16_000))
    assert stream(edge, "-") == 1
    assert "a stream takes one channel at 16000 Hz in 16 bits, a file any" in capsys.readouterr().err
    pipe(wav(np.zeros(16_000), 16_000))
    assert stream(edge, "-") == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
