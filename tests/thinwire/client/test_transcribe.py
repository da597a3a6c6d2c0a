"""Speech through the client, against something that answers like an edge."""

import asyncio
import json
import subprocess
import sys

import httpx
import numpy as np
import pytest

from tests.answers import standing_in, transcript_body
from thinwire.audio import decode
from thinwire.audio.transcript import to_srt
from thinwire.client import AsyncClient, Client
from thinwire.errors import BudgetError, InvalidRequestError, OverloadedError
from thinwire.rest.problems import openai


@pytest.fixture(name="edge")
def edge_fixture():
    with standing_in() as server:
        server.response = (200, {}, json.dumps(transcript_body()).encode())
        yield server


@pytest.fixture(name="client")
def client_fixture(edge):
    with Client(edge.url, edge.url) as client:
        yield client


def parts_of(edge):
    """Name and content of each part of the last form."""
    path, headers, body = edge.asked[-1]
    assert path == "/v1/audio/transcriptions"
    boundary = headers["content-type"].partition("boundary=")[2].encode()
    parts = {}
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        parts[head.partition(b'name="')[2].partition(b'"')[0].decode()] = content[:-2]
    return parts


def test_only_what_is_given_is_sent(client, edge):
    found = client.transcribe(b"a clip")
    assert parts_of(edge) == {"file": b"a clip", "response_format": b"verbose_json"}
    assert (found.text, found.language, found.duration, found.segments[0].text) == (
        *("one two", "english", 1.5),
        " one two",
    )
    assert (found.link.channel_uses, found.windows[0].link.tokens, found.policy.id) == (24, 4, "p-1")
    assert to_srt(found.transcript) == "1\n00:00:00,000 --> 00:00:01,500\none two\n\n"
    assert "idempotency-key" not in edge.asked[-1][1]


def test_all_that_is_given_is_sent(client, edge, tmp_path):
    path = tmp_path / "a.flac"
    path.write_bytes(b"content")
    given = {"language": "de", "prompt": "eins, zwei: ü", "temperature": 0.5, "model": "tiny", "policy": "none"}
    link = {"budget": 38, "channel": {"snr_db": np.float32(3)}, "explain": True, "timeout_ms": 50, "id": "mine"}
    client.transcribe(path, **given, **link)
    told = {name: content.decode() for name, content in parts_of(edge).items()}
    assert told == {
        **{"file": "content", "response_format": "verbose_json", "temperature": "0.5", "timeout_ms": "50"},
        **{name: given[name] for name in ("language", "prompt", "model", "policy")},
        **{"budget": '{"channel_uses": 38}', "channel": '{"snr_db": 3.0}', "explain": "true"},
    }
    assert edge.asked[-1][1]["idempotency-key"] == "mine"


def test_samples_are_sent_as_they_are(client, edge):
    samples = np.random.default_rng(0).normal(0, 0.5, 1_000).astype(np.float32)
    client.transcribe(samples)
    assert np.array_equal(decode(parts_of(edge)["file"]), samples)


@pytest.mark.parametrize(
    ("sound", "told"),
    [
        ("no such file", "cannot read no such file: No such file"),
        (np.zeros((2, 3), np.float32), "expected bytes, a path, or a row .* got .2, 3. of float32"),
        (np.zeros(3, np.int16), "got .3,. of int16"),
        (17, "got int"),
    ],
)
def test_what_is_no_sound_is_told_before_anything_is_sent(client, edge, sound, told):
    with pytest.raises(InvalidRequestError, match=told):
        client.transcribe(sound)
    assert edge.asked == []


def test_what_came_before_is_written_down_by_the_cloud(edge):
    with standing_in() as cloud, Client(edge.url, cloud.url) as client:
        cloud.response = (
            200,
            {},
            json.dumps(transcript_body() | {"link": None, "policy": None, "windows": []}).encode(),
        )
        first = client.transcribe(b"a clip")
        again = client.transcribe(first, prompt="one", language="en")
        path, headers, body = cloud.asked[-1]
        assert (path, headers["content-type"]) == ("/v1/audio/transcriptions", "application/json")
        asked = {"id": first.id, "prompt": "one", "language": "en", "response_format": "verbose_json"}
        assert json.loads(body) == asked
        assert (again.link, again.windows) == (None, [])
        with pytest.raises(InvalidRequestError, match=r"a transcript of tokens .* crosses no link: got budget"):
            client.transcribe(first, budget=38)
    assert len(edge.asked) == 1


def test_problems_in_openais_form_are_errors_like_all_others(client, edge):
    for error, kind in ((BudgetError("too dear"), BudgetError), (OverloadedError("full", 7.0), OverloadedError)):
        told = openai(error)
        headers = {"retry-after": told.headers["retry-after"]} if "retry-after" in told.headers else {}
        edge.response = (told.status_code, headers, bytes(told.body))
        with pytest.raises(kind, match=str(error)) as raised:
            client.transcribe(b"a clip")
        assert (raised.value.http_status, raised.value.retry_after_s) == (error.http_status, error.retry_after_s)


def test_it_may_be_awaited(edge):
    async def ask():
        async with AsyncClient(edge.url, edge.url) as client:
            return await client.transcribe(b"a clip", budget=38)

    assert asyncio.run(ask()).text == "one two"
    assert parts_of(edge)["budget"] == b'{"channel_uses": 38}'


def test_a_client_does_without_numpy():
    program = "import sys; import thinwire.client; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


def test_the_time_that_is_waited(monkeypatch, client):
    waited = []
    send = httpx.Client.request

    def noted(self, **options):
        waited.append(options["timeout"])
        return send(self, **options)

    monkeypatch.setattr(httpx.Client, "request", noted)
    client.transcribe(b"a clip", timeout_ms=600_000)
    client.transcribe(b"a clip")
    assert waited == [605.0, 60.0]
