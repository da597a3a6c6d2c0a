"""Speech over REST in OpenAI's form: whole audio through the plain model, and what is no such request."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cloud.transcriber import Heard, Utterance
from tests.cloud.speech_server import RATE, SEED, clip, heard
from tests.openai import check_openai
from tests.sounds import BROKEN
from tests.speech_bundle import make_speech_frame, random_symbols
from thinwire.transcription import TranscriptionOptions

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLIP = clip(12_000)
WARM = {"temperatures": (0.5,)}


def written(speech, windows, options):
    """What the model itself makes of audio in windows."""
    found = [speech.model.inner.hear_audio([window])[0] for window in windows]
    parts = zip(found, windows, strict=True)
    heard_in = [Heard(one.tokens, None, len(part) / RATE) for one, part in parts]
    asked = [Utterance(one, replace(options, seed=SEED)) for one in heard_in]
    return [speech.model.inner.transcribe([one])[0] for one in asked]


async def test_each_form_of_a_clip(speech):
    (plain,) = written(speech, [heard(12_000)], TranscriptionOptions(**WARM))
    (timed,) = written(speech, [heard(12_000)], TranscriptionOptions(**WARM, timestamps=True))
    assert plain.text
    response = await speech.send(CLIP)
    assert response.json() == {"text": plain.text, "usage": {"type": "duration", "seconds": 0.75}}
    texts = {form: await speech.send(CLIP, response_format=form) for form in ("text", "srt", "vtt")}
    assert texts["text"].text == f"{plain.text}\n"
    assert texts["vtt"].headers["content-type"] == "text/vtt; charset=utf-8"
    first = timed.segments[0]
    assert texts["vtt"].text.startswith(f"WEBVTT\n\n00:00:0{first.start:.3f} --> 00:00:0{first.end:.3f}\n")
    assert texts["srt"].text.startswith("1\n00:00:00,")
    whole = (await speech.send(CLIP, response_format="verbose_json", **{"timestamp_granularities[]": "segment"})).json()
    assert (whole["task"], whole["language"], whole["duration"]) == ("transcribe", "english", 0.75)
    assert [(one["start"], one["end"], one["text"]) for one in whole["segments"]] == [
        (one.start, one.end, one.text) for one in timed.segments
    ]


async def test_a_long_clip_is_heard_in_windows(speech):
    windows = np.split(heard(40_000, 1), [16_000, 32_000])
    response = await speech.send(clip(40_000, 1), response_format="verbose_json")
    parts = written(speech, windows, TranscriptionOptions(**WARM, timestamps=True))
    assert speech.model.audio == [16_000, 16_000, 8_000]
    content = response.json()
    assert content["duration"] == 2.5
    assert [(one["start"], one["end"], one["seek"], one["text"]) for one in content["segments"]] == [
        (number + one.start, number + one.end, 100 * number, one.text)
        for number, part in enumerate(parts)
        for one in part.segments
    ]
    assert content["text"] == "".join(one.text for part in parts for one in part.segments).strip()


async def test_what_is_asked_reaches_the_model(speech):
    await speech.send(CLIP, language="en", prompt="one", temperature="0.25", model="tiny-speech")
    await speech.send(CLIP, response_format="srt", model="whisper-1", prompt="", language="", temperature="")
    asked = [one.options for batch in speech.model.batches for one in batch]
    assert asked == [
        TranscriptionOptions(language="en", prompt="one", temperatures=(0.25,), seed=SEED),
        TranscriptionOptions(timestamps=True, seed=SEED),
    ]


async def events(response):
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]


@pytest.mark.parametrize("samples", [12_000, 40_000])
async def test_a_stream_tells_the_text_in_pieces(speech, samples):
    told = await events(await speech.send(clip(samples, 1), stream="true"))
    *deltas, done = told
    windows = np.split(heard(samples, 1), range(16_000, samples, 16_000))
    parts = written(speech, windows, TranscriptionOptions(**WARM))
    whole = "".join(one.text for part in parts for one in part.segments).strip()
    assert whole
    assert done == {"type": "transcript.text.done", "text": whole}
    assert {one["type"] for one in deltas} == {"transcript.text.delta"}
    assert "".join(one["delta"] for one in deltas) == whole
    assert len(deltas) > len(windows)


async def test_a_held_clip_in_a_stream_and_in_a_form(speech):
    frame = make_speech_frame(speech.bundle, random_symbols(9, seed=1))
    await speech.stub.Infer(frame)
    *deltas, done = await events(await speech.again(frame.request_id, stream=True))
    assert "".join(one["delta"] for one in deltas) == done["text"]
    text = (await speech.again(frame.request_id)).json()["text"]
    assert (await speech.send(None, id=frame.request_id, model="tiny-speech")).json()["text"] == text


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_no_clip_is_refused_and_the_next_one_served(speech, name):
    data, reason = BROKEN[name]
    for stream in ("false", "true"):
        error = check_openai(await speech.send(data, stream=stream), 422, "invalid_request")
        assert reason in error["message"]
        assert len(error["message"].splitlines()) == 1
        assert error["param"] == "file"
        if len(data) > 10_000:
            break
    assert speech.model.audio == []
    assert (await speech.send(CLIP)).status_code == 200


WRONG = {
    "format": ({"response_format": "docx"}, "response_format"),
    "temperature": ({"temperature": "1.5"}, "temperature"),
    "temperature as text": ({"temperature": "hot"}, "temperature"),
    "NaN": ({"temperature": "NaN"}, "temperature"),
    "stream": ({"stream": "maybe"}, "stream"),
    "a stream of subtitles": ({"stream": "true", "response_format": "srt"}, "response_format"),
    "words": ({"response_format": "verbose_json", "timestamp_granularities[]": "word"}, "timestamp_granularities"),
    "granularity": (
        {"response_format": "verbose_json", "timestamp_granularities": "page"},
        "timestamp_granularities.0",
    ),
    "granularity of text": ({"timestamp_granularities[]": "segment"}, "timestamp_granularities"),
    "language": ({"language": "klingon"}, "language"),
    "a long language": ({"language": "k" * 65}, "language"),
    "prompt": ({"prompt": "a" * 2_001}, "prompt"),
    "a special token": ({"prompt": "<|endoftext|>"}, "prompt"),
    "policy": ({"policy": "p1"}, "policy"),
    "budget": ({"budget[channel_uses]": "300"}, "budget"),
    "budget as JSON": ({"budget": '{"channel_uses": 300}'}, "budget"),
    "channel": ({"channel[model]": "awgn"}, "channel"),
    "both": ({"id": "0" * 32}, "file"),
    "a field of others": ({"chunking_strategy": "auto"}, None),
}


@pytest.mark.parametrize("name", WRONG)
async def test_what_is_no_request(speech, name):
    fields, param = WRONG[name]
    error = check_openai(await speech.send(CLIP, **fields), 422, "invalid_request")
    assert error["param"] == param
    assert len(error["message"]) < 800


async def test_what_there_is_not(speech):
    check_openai(await speech.send(CLIP, model="whisper-2"), 404, "model_not_found")
    check_openai(await speech.again("0" * 32), 404, "unknown_frame")
    check_openai(await speech.again("0" * 32, stream=True), 404, "unknown_frame")
    check_openai(await speech.send(None), 422, "invalid_request")
    assert check_openai(await speech.send(None, prompt="one"), 422, "invalid_request")["param"] == "file"
    raw = await speech.client.post("/v1/audio/transcriptions", content=CLIP, headers={"content-type": "audio/wav"})
    check_openai(raw, 422, "invalid_request")


async def test_more_than_a_file_may_hold(speech):
    response = await speech.send(b"RIFF" + bytes(25 * 2**20))
    check_openai(response, 413, "payload_too_large")
    response = await speech.send(bytes(26 * 2**20))
    check_openai(response, 413, "payload_too_large")
    assert (await speech.send(CLIP)).status_code == 200


async def test_no_time_is_left(speech):
    check_openai(await speech.send(CLIP, timeout_ms="0.001"), 504, "deadline_exceeded")
    check_openai(await speech.send(CLIP, timeout_ms="0.001", stream="true"), 504, "deadline_exceeded")


async def test_the_document_and_the_models_tell_of_it(speech):
    document = (await speech.client.get("/openapi.json")).json()
    assert "/v1/audio/transcriptions" in document["paths"]
    assert "/v1/vqa" not in document["paths"]
    (model,) = (await speech.client.get("/v1/models")).json()["models"]
    assert (model["task"], model["input_size"], model["patches"]) == ("transcription", None, 50)
