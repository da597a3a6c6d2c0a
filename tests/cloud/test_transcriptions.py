"""Frames of speech over gRPC, and what the cloud holds of them."""

import asyncio
import math
from dataclasses import replace

import grpc
import numpy as np
import pytest

from cloud.transcriber import Utterance
from tests.cloud.speech_server import SEED
from tests.openai import check_openai
from tests.speech_bundle import make_speech_frame, random_symbols
from thinwire import rpc
from thinwire.equalise import ReceivedTokens
from thinwire.transcription import TranscriptionOptions
from thinwire.v1 import link_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = {"temperatures": (0.0,), "no_speech_threshold": None, "max_new_tokens": 12}
PLAIN = TranscriptionOptions(**ONE)
TIMED = TranscriptionOptions(**ONE, timestamps=True)


def written(speech, symbols, options=PLAIN, seconds=0.0):
    """What the model itself makes of a clip alone."""
    (found,) = speech.model.inner.hear_frames([ReceivedTokens(symbols, 0.0)])
    asked = Utterance(replace(found, seconds=seconds or None), replace(options, seed=SEED))
    (transcript,) = speech.model.inner.transcribe([asked])
    return transcript


async def fails(call):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return rpc.from_rpc_error(raised.value)


async def test_a_frame_is_written_down(speech):
    symbols = random_symbols(7)
    frame = make_speech_frame(speech.bundle, symbols, transcription=TIMED.to_message(0.5), sequence_number=2)
    result = await speech.stub.Infer(frame)
    expected = written(speech, symbols, TIMED, 0.5)
    assert expected.text
    assert [output.label for output in result.outputs] == [expected.text]
    assert result.outputs[0].score == pytest.approx(math.exp(expected.avg_logprob), rel=1e-4)
    told = result.transcript
    assert [(one.start, one.end, one.text, tuple(one.tokens)) for one in told.segments] == [
        (one.start, one.end, one.text, one.tokens) for one in expected.segments
    ]
    assert (told.language, told.temperature) == ("english", 0.0)
    assert told.avg_logprob == pytest.approx(expected.avg_logprob, rel=1e-4)
    assert told.compression_ratio == pytest.approx(expected.compression_ratio)
    assert told.no_speech_prob == pytest.approx(expected.no_speech_prob, rel=1e-3)
    assert (result.finish_reason, result.answer_tokens) == (expected.finish_reason, expected.tokens)
    assert result.prompt_tokens == expected.prompt_tokens
    assert (result.request_id, result.sequence_number) == (frame.request_id, 2)


async def test_a_frame_is_kept_and_written_down_later_in_other_ways(speech):
    symbols = random_symbols(9, seed=1)
    frame = make_speech_frame(speech.bundle, symbols)
    result = await speech.stub.Infer(frame)
    assert (list(result.outputs), result.HasField("transcript"), result.finish_reason) == ([], False, "")
    assert speech.model.batches == []
    prompts = ("", "one two", "two two two two")
    texts = [(await speech.again(frame.request_id.upper(), prompt=prompt)).json()["text"] for prompt in prompts]
    asked = [TranscriptionOptions(prompt=prompt, temperatures=(0.5,)) for prompt in prompts]
    assert texts == [written(speech, symbols, options).text for options in asked]
    assert len(set(texts)) > 1
    assert speech.model.frames == [(9, 4)]


async def test_a_repeated_frame_is_not_heard_again(speech):
    symbols = random_symbols(5, seed=2)
    frame = make_speech_frame(speech.bundle, symbols, transcription=PLAIN.to_message(0.5))
    first = await speech.stub.Infer(frame)
    frame.transcription.prompt = "two two"
    second = await speech.stub.Infer(frame)
    assert [one.outputs[0].label for one in (first, second)] == [
        written(speech, symbols, TranscriptionOptions(**ONE, prompt=prompt)).text for prompt in ("", "two two")
    ]
    assert (speech.model.frames, len(speech.model.batches)) == ([(5, 4)], 2)
    # How long it is, is told where it is written down again.
    again = await speech.again(frame.request_id, response_format="verbose_json")
    assert again.json()["duration"] == 0.5
    for change in ({"symbols": random_symbols(5, seed=3)}, {"seconds": 0.75}):
        other = make_speech_frame(
            speech.bundle,
            change.get("symbols", symbols),
            transcription=PLAIN.to_message(change.get("seconds", 0.5)),
            request_id=frame.request_id,
        )
        assert (await fails(speech.stub.Infer(other))).code == "id_taken"


async def test_clips_that_come_together_run_together_and_each_gets_what_it_gets_alone(speech, until):
    clips = [random_symbols(3 + 4 * number, 2 + number, number) for number in range(5)]
    frames = [make_speech_frame(speech.bundle, symbols) for symbols in clips]
    for frame in frames:
        await speech.stub.Infer(frame)
    speech.model.gate.clear()
    options = [TIMED, PLAIN, TranscriptionOptions(**ONE, prompt="one"), TIMED, PLAIN]
    calls = []
    for frame, asked in zip(frames, options, strict=True):
        frame.transcription.CopyFrom(asked.to_message())
        calls.append(asyncio.ensure_future(speech.stub.Infer(frame)))
        if len(calls) == 1:
            await until(lambda: speech.model.batches)
    await until(lambda: speech.task.transcripts.waiting() == 4)
    speech.model.gate.set()
    results = await asyncio.gather(*calls)
    expected = [written(speech, *one).text for one in zip(clips, options, strict=True)]
    assert [result.outputs[0].label for result in results] == expected
    assert len(set(expected)) > 2
    assert [len(batch) for batch in speech.model.batches] == [1, 4]


@pytest.mark.parametrize("how", ["cancelled", "late"])
async def test_nobody_waits_for_a_transcript_any_more(speech, until, how):
    speech.model.gate.clear()
    frame = make_speech_frame(speech.bundle, random_symbols(4), transcription=PLAIN.to_message())
    call = speech.stub.Infer(frame, timeout=60 if how == "cancelled" else 3)
    await until(lambda: speech.model.batches)
    if how == "cancelled":
        call.cancel()
    (batch,) = speech.model.batches
    await until(batch[0].given_up.is_set)
    if how == "late":
        assert (await fails(call)).code == "deadline_exceeded"
    speech.model.gate.set()
    # The clip is held none the less.
    assert (await speech.again(frame.request_id)).status_code == 200


REFUSED = {
    "labels": ({"top_k": 1}, "invalid_request"),
    "logits": ({"want_logits": True}, "invalid_request"),
    "a question": ({"question": "what?"}, "invalid_request"),
    "a generation": ({"generation": link_pb2.Generation()}, "invalid_request"),
    "too long": ({"transcription": link_pb2.Transcription(seconds=1.1)}, "invalid_request"),
    "negative": ({"transcription": link_pb2.Transcription(seconds=-1)}, "invalid_request"),
    "no number": ({"transcription": link_pb2.Transcription(seconds=math.nan)}, "invalid_request"),
    "beams": ({"transcription": link_pb2.Transcription(beams=17)}, "invalid_request"),
    "a prompt of 100 kB": ({"transcription": link_pb2.Transcription(prompt="a" * 100_000)}, "invalid_request"),
    "a language": ({"transcription": link_pb2.Transcription(language="klingon")}, "invalid_request"),
    "a long language": ({"transcription": link_pb2.Transcription(language="k" * 100_000)}, "invalid_request"),
    "a special token": ({"transcription": link_pb2.Transcription(prompt="<|endoftext|>")}, "invalid_request"),
    "another task": ({"task": "vqa"}, "unknown_task"),
    "too many tokens": ({"tokens": 51, "symbols": random_symbols(51).tobytes()}, "invalid_frame"),
    "not finite": ({"symbols": np.full((4, 4), 3e38 + 0j, np.complex64).tobytes()}, "invalid_frame"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_frames(speech, name):
    fields, code = REFUSED[name]
    frame = make_speech_frame(speech.bundle, random_symbols(4), **fields)
    error = await fails(speech.stub.Infer(frame))
    assert error.code == code
    assert len(str(error)) < 500
    if "language" not in name and name != "a special token":
        check_openai(await speech.again(frame.request_id), 404, "unknown_frame")


async def test_all_windows_of_a_request_are_written_down_again(speech):
    clips = [random_symbols(4 + number, seed=number) for number in range(3)]
    first = make_speech_frame(speech.bundle, clips[0], transcription=TIMED.to_message(1.0))
    lengths = (1.0, 1.0, 0.5)
    for number, (symbols, seconds) in enumerate(zip(clips, lengths, strict=True)):
        frame = make_speech_frame(speech.bundle, symbols, transcription=TIMED.to_message(seconds))
        frame.request_id, frame.sequence_number = first.request_id, number
        await speech.stub.Infer(frame)
    options = replace(TIMED, temperatures=(0.5,), no_speech_threshold=0.6, max_new_tokens=None)
    expected = [written(speech, *one) for one in zip(clips, [options] * 3, lengths, strict=True)]
    content = (await speech.again(first.request_id, response_format="verbose_json")).json()
    assert content["duration"] == 2.5
    assert [(one["start"], one["text"]) for one in content["segments"]] == [
        (number + one.start, one.text) for number, part in enumerate(expected) for one in part.segments
    ]
    assert (content["id"], content["policy"], content["link"], content["cost"]) == (first.request_id, None, None, None)
    assert content["windows"] == []
    # One of them has its own name.
    content = (await speech.again(f"{first.request_id}-1", response_format="verbose_json")).json()
    assert (content["duration"], content["text"]) == (1.0, expected[1].text)
    # Up to the first that is missing.
    gone = make_speech_frame(speech.bundle, clips[0], transcription=TIMED.to_message(1.0))
    await speech.stub.Infer(gone)
    gone.sequence_number = 2
    await speech.stub.Infer(gone)
    content = (await speech.again(gone.request_id, response_format="verbose_json")).json()
    assert content["duration"] == 1.0
