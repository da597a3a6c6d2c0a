"""Speech at the edge: a clip crosses the link in windows, and its transcript comes back in OpenAI's forms."""

import asyncio
import json
from dataclasses import replace

import httpx
import numpy as np
import pytest

from edge.app import create_app
from edge.device import Device
from edge.service import EdgeService
from policies.front import Front
from policies.fronts import FrontFile, Fronts
from tests.edge.fakes import PATCHES, FakeHearing
from tests.exposition import outcomes, samples
from tests.json_logs import json_lines
from tests.openai import check_openai
from tests.sounds import BROKEN, float_wav
from tests.spans import recorded
from thinwire.audio import SAMPLE_RATE, SAMPLES_PER_POSITION, log_mel
from thinwire.bundle import FRONT, Speech
from thinwire.errors import BundleError, OverloadedError
from thinwire.rest.transcription_answers import TranscriptResponse
from thinwire.transcription import TranscriptionOptions

WINDOW = PATCHES * SAMPLES_PER_POSITION
ID = "0123456789abcdef" * 2
URL = "/v1/audio/transcriptions"


@pytest.fixture(name="hearing")
def hearing_fixture():
    engine = FakeHearing()
    yield engine
    engine.open.set()


@pytest.fixture(name="speech")
def speech_fixture(bundle, hearing, fine, coarse, client):
    heard = replace(bundle, task="transcription", labels=(), preprocessing=None, speech=Speech("whisper", None))
    found = tuple(replace(measured, bundle_digest=heard.digest) for measured in (fine, coarse))
    Fronts((Front(heard.name, heard.digest, found),)).save(heard.path(FRONT))
    service = EdgeService(heard, hearing, FrontFile(heard.path(FRONT), heard.digest), Device(client, "microphone"))
    yield service
    hearing.open.set()
    service.device.close()


@pytest.fixture(name="http")
async def http_fixture(speech):
    transport = httpx.ASGITransport(create_app(speech.device, [speech]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http


def noise(count, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, count).astype(np.float32)


def form(audio, **fields):
    data = audio if isinstance(audio, bytes) else float_wav(audio, SAMPLE_RATE)
    parts = [("file", ("clip.wav", data))]
    return {"files": parts + [(name, (None, str(value))) for name, value in fields.items()]}


async def test_each_form_of_a_clip(http, cloud):
    audio = noise(4_000)
    seconds = {"usage": {"type": "duration", "seconds": 0.25}}
    assert (await http.post(URL, **form(audio))).json() == {"text": "heard 0"} | seconds
    for name, expected in {
        "text": "heard 0\n",
        "srt": "1\n00:00:00,000 --> 00:00:00,250\nheard 0\n\n",
        "vtt": "WEBVTT\n\n00:00:00.000 --> 00:00:00.250\nheard 0\n\n",
    }.items():
        response = await http.post(URL, **form(audio, response_format=name, model="whisper-1"))
        assert response.text == expected
    response = await http.post(URL, **form(audio, response_format="verbose_json"), headers={"idempotency-key": ID})
    whole = response.json()
    assert {"task": "transcribe", "language": "english", "duration": 0.25, "text": "heard 0"}.items() <= whole.items()
    assert whole["segments"][0].items() >= {"id": 0, "start": 0, "end": 0.25, "text": " heard 0", "tokens": [7]}.items()
    assert whole["usage"] == seconds["usage"]
    # Only the forms that tell times ask for them.
    assert [frame.transcription.timestamps for frame in cloud.frames] == [False, False, True, True, True]


async def test_a_long_clip_crosses_in_windows_and_the_accounts_are_theirs(http, cloud, hearing, speech, coarse):
    audio = noise(2 * WINDOW + 800)
    with json_lines() as logged:
        asked = form(audio, response_format="verbose_json", budget='{"channel_uses": 11}')
        response = await http.post(URL, **asked, headers={"idempotency-key": ID})
    content = response.json()
    whole = TranscriptResponse.model_validate(content, strict=True)
    assert whole.text == "heard 0 heard 1 heard 2"
    frames = sorted(cloud.frames, key=lambda frame: frame.sequence_number)
    assert [(frame.request_id, frame.sequence_number, frame.task) for frame in frames] == [
        (ID, number, "transcription") for number in range(3)
    ]
    assert [frame.transcription.seconds for frame in frames] == [0.32, 0.32, 0.05]
    # The last one up to what the model hears at once.
    assert [features.shape for features in hearing.heard] == [(8, 2 * PATCHES)] * 3
    for window, features in zip(np.split(audio, [WINDOW, 2 * WINDOW]), hearing.heard, strict=True):
        assert np.array_equal(features, log_mel(window, 8, PATCHES))
    assert [(one.id, one.start, one.end) for one in whole.windows] == [
        (ID, 0.0, 0.32),
        (f"{ID}-1", 0.32, 0.64),
        (f"{ID}-2", 0.64, pytest.approx(0.69)),
    ]
    for window, frame in zip(whole.windows, frames, strict=True):
        assert frame.max_channel_uses == 11
        assert window.policy.id == coarse.policy.id == frame.policy_id
        assert (window.link.tokens, window.link.payload_uses) == (frame.tokens, frame.tokens * frame.symbols_per_token)
        assert (window.link.channel_uses, window.link.pilot_uses) == (window.link.payload_uses + 3, 2)
        assert window.link.cbr == pytest.approx(window.link.channel_uses / (8 * 2 * PATCHES))
        assert (window.link.snr_db, window.cost.edge_gmacs, window.timings_ms.channel) == (10.0, 0.25, 1.0)
    link, parts = whole.link, [one.link for one in whole.windows]
    for name in ("tokens", "channel_uses", "payload_uses", "pilot_uses", "side_information_uses", "transmissions"):
        assert getattr(link, name) == sum(getattr(part, name) for part in parts) > 0
    assert (link.airtime_ms, link.snr_db, link.cbr) == (1.5, 10.0, pytest.approx(parts[0].cbr))
    assert (whole.id, whole.policy, whole.cost.edge_gmacs) == (ID, whole.windows[0].policy, 0.75)
    assert (whole.timings_ms.channel, whole.timings_ms.cloud) == (3.0, 6.0)
    assert whole.timings_ms.total < 5_000
    # What was said is in no log.
    assert "heard" not in json.dumps(logged())
    counted = samples((await http.get("/metrics")).text)
    assert counted["thinwire_requests_total{outcome=ok,service=edge}"] == 1
    assert counted["thinwire_bundle_frames_total{bundle=test,service=edge}"] == 3
    assert counted["thinwire_stage_seconds_count{service=edge,stage=decode}"] == 1
    assert speech.device.engines.waiting == 0


async def test_windows_that_several_policies_served_have_none_in_common(http, cloud, coarse, fine):
    cloud.on_frame = lambda frame: setattr(cloud, "snr_db", 0.0)
    asked = form(noise(6 * WINDOW), response_format="verbose_json")
    content = (await http.post(URL, **asked)).json()
    served = [window["policy"]["id"] for window in content["windows"]]
    assert (served[0], served[-1]) == (fine.policy.id, coarse.policy.id)
    assert content["policy"] is None


async def test_what_is_asked_reaches_the_frame(http, cloud):
    fields = {"language": "de", "prompt": "eins", "temperature": "0.25", "policy": "none", "model": "test"}
    channel = {"channel[snr_db]": 3, "channel[model]": "rayleigh", "channel[seed]": 7}
    assert (await http.post(URL, **form(noise(800), **fields, **channel))).json()["text"] == "de 0"
    await http.post(URL, **form(noise(800), channel='{"snr_db": 3}', **{"budget[channel_uses]": 9}))
    first, second = cloud.frames
    options = TranscriptionOptions(language="de", prompt="eins", temperatures=(0.25,))
    assert TranscriptionOptions.from_message(first.transcription) == options
    assert (first.policy_id, first.tokens, first.symbols_per_token) == ("none", PATCHES, 4)
    assert (first.channel.model, first.channel.snr_db, first.channel.seed) == ("rayleigh", 3, 7)
    assert (second.channel.model, second.channel.snr_db, second.max_channel_uses) == ("", 3, 9)
    assert not second.want_received


async def test_a_stream_tells_each_window_in_one_piece(http, cloud):
    response = await http.post(URL, **form(noise(2 * WINDOW + 1), stream="true"))
    assert response.headers["content-type"].startswith("text/event-stream")
    told = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    pieces = ["heard 0", " heard 1", " heard 2"]
    assert told == [
        *({"type": "transcript.text.delta", "delta": piece} for piece in pieces),
        {"type": "transcript.text.done", "text": "".join(pieces)},
    ]
    assert outcomes((await http.get("/metrics")).text, "thinwire_requests_total") == {"ok": 1}
    # What fails behind the first window is told in its place; before, it has a status.
    cloud.refusal = lambda frame: OverloadedError("full") if frame.sequence_number else None
    response = await http.post(URL, **form(noise(2 * WINDOW), stream="true", timeout_ms="900"))
    first, second = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert (first["delta"], second["error"]["code"]) == ("heard 0", "overloaded")
    cloud.refusal = lambda _: OverloadedError("full")
    response = await http.post(URL, **form(noise(800), stream="true", timeout_ms="900"))
    check_openai(response, 429, "overloaded")
    assert outcomes((await http.get("/metrics")).text, "thinwire_requests_total") == {"ok": 1, "overloaded": 2}


async def test_a_window_is_explained(http, cloud):
    asked = form(noise(WINDOW + 800), response_format="verbose_json", explain="true", **{"budget[channel_uses]": 9})
    content = (await http.post(URL, **asked)).json()
    for window, frame in zip(
        content["windows"], sorted(cloud.frames, key=lambda one: one.sequence_number), strict=True
    ):
        told = window["explain"]
        assert (told["grid"], told["area"], told["sizes"]) == ([1, PATCHES], None, [4] * 4)
        assert told["groups"] == [place // 4 for place in range(PATCHES)]
        assert len(told["sent"]) == len(told["received"]) == frame.tokens * frame.symbols_per_token
    assert (
        "explain" not in (await http.post(URL, **form(noise(800), response_format="verbose_json"))).json()["windows"][0]
    )
    assert check_openai(await http.post(URL, **form(noise(800), explain="true")), 422, "invalid_request")["param"] == (
        "explain"
    )


async def test_a_repeat_sends_the_same_frames_again(http, cloud, hearing):
    asked, key = form(noise(WINDOW + 800)), {"idempotency-key": ID}
    first = await http.post(URL, **asked, headers=key)
    again = await http.post(URL, **asked, headers=key)
    assert first.json() == again.json()
    assert len(hearing.heard) == 2
    frames = [frame.SerializeToString(deterministic=True) for frame in cloud.frames]
    assert len(frames) == 4
    assert len(set(frames)) == 2
    for other in (form(noise(WINDOW + 800, 1)), form(noise(WINDOW + 800), prompt="one")):
        check_openai(await http.post(URL, **other, headers=key), 409, "id_taken")
    assert len(cloud.frames) == 4


async def test_each_window_is_traced(http, cloud):
    with recorded() as spans:
        await http.post(URL, **form(noise(WINDOW + 800)), headers={"idempotency-key": ID})
        family = spans.family()
        windows = spans.named("window")
    assert family.items() >= {"request": None, "decode": "request", "window": "request", "link": "window"}.items()
    numbers = sorted(span.attributes["thinwire.sequence_number"] for span in windows)
    assert (numbers, windows[0].attributes["thinwire.request_id"]) == ([0, 1], ID)


@pytest.mark.parametrize("stream", ["false", "true"])
async def test_nobody_waits_any_more(http, cloud, speech, stream):
    cloud.held = lambda frame: True
    call = asyncio.create_task(http.post(URL, **form(noise(9 * WINDOW), stream=stream)))
    async with asyncio.timeout(60):
        await cloud.arrived.wait()
        call.cancel()
        await cloud.cancelled.wait()
        await asyncio.gather(call, return_exceptions=True)
    # A long clip has few windows under way.
    assert len(cloud.frames) <= 3
    assert speech.device.engines.waiting == 0
    cloud.held = lambda frame: False
    assert (await http.post(URL, **form(noise(800)))).status_code == 200


async def test_the_cloud_holds_what_came_before(http, cloud):
    for asked in ({"json": {"id": ID}}, {"files": [("id", (None, ID))]}):
        error = check_openai(await http.post(URL, **asked), 422, "invalid_request")
        assert (error["param"], "the cloud holds" in error["message"]) == ("id", True)
    assert cloud.frames == []


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_clip_is_refused_and_the_next_one_served(http, cloud, name):
    data, reason = BROKEN[name]
    error = check_openai(await http.post(URL, **form(data)), 422, "invalid_request")
    assert reason in error["message"]
    assert error["param"] == "file"
    assert cloud.frames == []
    assert (await http.post(URL, **form(noise(800)))).json()["text"] == "heard 0"
    counted = outcomes((await http.get("/metrics")).text, "thinwire_requests_total")
    assert counted == {"invalid_request": 1, "ok": 1}


WRONG = {
    "format": ({"response_format": "docx"}, 422, "invalid_request", "response_format"),
    "model": ({"model": "whisper-2"}, 404, "model_not_found", "model"),
    "policy": ({"policy": "p-0"}, 404, "unknown_policy", "policy"),
    "budget": ({"budget[channel_uses]": 1}, 422, "budget_not_met", "budget"),
    "no budget": ({"budget": "many"}, 422, "invalid_request", "budget"),
    "channel": ({"channel[model]": "string"}, 422, "invalid_request", None),
    "words": ({"response_format": "verbose_json", "timestamp_granularities[]": "word"}, 422, "invalid_request", None),
    "time": ({"timeout_ms": "0.001"}, 504, "deadline_exceeded", None),
    "others": ({"top_k": "3"}, 422, "invalid_request", None),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_request(http, name):
    fields, status, code, param = WRONG[name]
    error = check_openai(await http.post(URL, **form(noise(800), **fields)), status, code)
    assert param in (None, error["param"])
    assert (await http.post(URL, **form(noise(800)))).status_code == 200


async def test_the_document_and_the_models_tell_of_it(http):
    document = (await http.get("/openapi.json")).json()
    assert set(document["paths"][URL]["post"]["requestBody"]["content"]) == {"multipart/form-data"}
    assert "/v1/classify" not in document["paths"]
    (model,) = (await http.get("/v1/models")).json()["models"]
    assert (model["task"], model["input_size"], model["patches"]) == ("transcription", None, PATCHES)
    image = await http.post("/v1/classify", content=b"", headers={"content-type": "image/png"})
    assert (image.status_code, image.json()["error"]) == (404, "unknown_task")


async def test_bundles_of_several_tasks_and_of_one_stand_side_by_side(
    speech, hearing, bundle, engine, front_file, cloud, picture
):
    image = EdgeService(replace(bundle, name="image"), engine, front_file, speech.device)
    second = EdgeService(replace(speech.bundle, name="second"), hearing, speech.front_file, speech.device)
    app = create_app(speech.device, [image, speech, second])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as http:
        for model in ("", "whisper-1", "test", "second"):
            response = await http.post(URL, **form(noise(800), model=model, policy="none"))
            assert response.json()["text"] == "heard 0"
        first, other = speech.bundle.digest, second.bundle.digest
        assert [frame.bundle_digest for frame in cloud.frames] == [first, first, first, other]
        check_openai(await http.post(URL, **form(noise(800), model="image")), 404, "model_not_found")
        seen = await http.post("/v1/classify", content=picture(), headers={"content-type": "image/png"})
        assert seen.status_code == 200
        assert {model["task"] for model in (await http.get("/v1/models")).json()["models"]} == {
            "classify",
            "transcription",
        }


def test_a_bundle_of_speech_needs_an_engine_that_hears(speech, engine, front_file):
    with pytest.raises(
        BundleError, match="bundle test is of the task 'transcription', and its tower takes no features"
    ):
        EdgeService(speech.bundle, engine, front_file, speech.device)
