"""Frames with questions over gRPC, and what the cloud holds of them."""

import asyncio

import grpc
import pytest

from tests.cloud.conftest import POISON
from tests.cloud.vqa_server import body, check_problem
from tests.exposition import samples
from thinwire import rpc
from thinwire.v1 import link_pb2

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_frame_with_a_question_is_answered(served, make_vqa_frame):
    generation = link_pb2.Generation(max_new_tokens=4, temperature=0.5, top_p=0.25)
    frame = make_vqa_frame(3, "where?", generation=generation, sequence_number=2)
    result = await served.stub.Infer(frame)
    assert [(output.label, output.score) for output in result.outputs] == [("3 WHERE? t0.5 p0.25", 0.5)]
    assert (result.finish_reason, result.prompt_tokens, result.answer_tokens) == ("length", 7, 4)
    assert (result.request_id, result.sequence_number) == (frame.request_id, 2)
    assert result.cloud_ms > 0
    again = await served.ask(f"{frame.request_id}-2", "and now?", max_new_tokens=2)
    assert again.json()["outputs"] == [{"answer": "3 AND NOW?", "score": 0.5}]
    assert served.model.viewed == [(3, 4)]


async def test_without_numbers_the_answer_is_greedy_and_of_sixteen_tokens(served, make_vqa_frame):
    result = await served.stub.Infer(make_vqa_frame(1, "what?"))
    assert result.outputs[0].label.split()[:4] == ["1", "WHAT?", "t0", "p1"]
    assert result.answer_tokens == 16


async def test_a_frame_without_a_question_is_kept_and_asked_later(served, make_vqa_frame):
    frame = make_vqa_frame(5)
    result = await served.stub.Infer(frame)
    assert (list(result.outputs), result.finish_reason) == ([], "")
    assert served.model.asked == []
    for number in range(20):
        response = await served.ask(frame.request_id, f"q{number}", max_new_tokens=2)
        content = response.json()
        assert content["outputs"] == [{"answer": f"5 Q{number}", "score": 0.5}]
        assert content["id"] == frame.request_id
        assert content["policy"] is content["link"] is content["cost"] is None
        assert content["timings_ms"]["edge"] is None
    assert served.model.viewed == [(3, 4)]


async def test_questions_that_come_together_run_together(served, make_vqa_frame, until):
    frames = [make_vqa_frame(value) for value in (1, 2)]
    for frame in frames:
        await served.stub.Infer(frame)
    served.model.gate.clear()
    calls = [asyncio.create_task(served.ask(frames[0].request_id, "first"))]
    await until(lambda: served.model.asked)
    calls += [
        asyncio.create_task(served.ask(frames[number % 2].request_id, f"q{number}", max_new_tokens=2))
        for number in range(6)
    ]
    await until(lambda: served.server.tasks[0].questions.waiting() == 6)
    served.model.gate.set()
    answers = [response.json()["outputs"][0]["answer"] for response in await asyncio.gather(*calls)][1:]
    assert answers == [f"{number % 2 + 1} Q{number}" for number in range(6)]
    assert [len(batch) for batch in served.model.asked] == [1, 6]


async def test_a_repeated_frame_is_answered_from_what_is_held(served, make_vqa_frame):
    frame = make_vqa_frame(4, "one?", generation=link_pb2.Generation(max_new_tokens=2))
    answers = [(await served.stub.Infer(frame)).outputs[0].label for _ in range(2)]
    frame.question = "two?"
    answers.append((await served.stub.Infer(frame)).outputs[0].label)
    assert answers == ["4 ONE?", "4 ONE?", "4 TWO?"]
    assert len(served.model.viewed) == 1
    # There is no cache of answers.
    assert served.model.asked == [["one?"], ["one?"], ["two?"]]
    other = make_vqa_frame(9, "two?", request_id=frame.request_id)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Infer(other)
    assert rpc.from_rpc_error(raised.value).code == "id_taken"


REFUSED = {
    "too long": ({"question": "a" * 2001}, "invalid_request"),
    "100 kB": ({"question": "a" * 100_000}, "invalid_request"),
    "labels": ({"top_k": 1}, "invalid_request"),
    "logits": ({"want_logits": True}, "invalid_request"),
    "tokens": ({"question": "q", "generation": link_pb2.Generation(max_new_tokens=257)}, "invalid_request"),
    "temperature": ({"question": "q", "generation": link_pb2.Generation(temperature=-1)}, "invalid_request"),
    "no number": ({"question": "q", "generation": link_pb2.Generation(temperature=float("nan"))}, "invalid_request"),
    "top_p": ({"question": "q", "generation": link_pb2.Generation(top_p=0)}, "invalid_request"),
    "nothing to generate": ({"generation": link_pb2.Generation()}, "invalid_request"),
    "a clip": ({"transcription": link_pb2.Transcription()}, "invalid_request"),
    "another task": ({"task": "classify"}, "unknown_task"),
    "another bundle": ({"bundle_digest": "0" * 64}, "bundle_mismatch"),
    "not finite": ({"value": POISON, "question": "q"}, "invalid_frame"),
    "model": ({"question": "nan"}, "internal"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_frames(served, make_vqa_frame, name):
    fields, code = REFUSED[name]
    frame = make_vqa_frame(**fields)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.stub.Infer(frame)
    assert rpc.from_rpc_error(raised.value).code == code
    if name != "model":
        check_problem(await served.ask(frame.request_id, "what?"), 404, "unknown_frame")
    assert (await served.stub.Infer(make_vqa_frame(1, "what?"))).outputs


async def test_the_longest_question(served, make_vqa_frame):
    assert (await served.stub.Infer(make_vqa_frame(1, "é" * 2000))).outputs


async def test_a_stream_of_frames(served, make_vqa_frame):
    generation = link_pb2.Generation(max_new_tokens=2)
    sent = [
        make_vqa_frame(1, "a", generation=generation),
        make_vqa_frame(POISON, "b"),
        make_vqa_frame(3),
        make_vqa_frame(4, "d", generation=generation),
    ]

    async def frames():
        for frame in sent:
            yield frame

    results = {result.request_id: result async for result in served.stub.Stream(frames())}
    first, second, third, fourth = (results[frame.request_id] for frame in sent)
    assert [result.outputs[0].label for result in (first, fourth)] == ["1 A", "4 D"]
    assert second.problem.code == "invalid_frame"
    assert not third.outputs
    assert not third.HasField("problem")


async def test_the_least_recently_asked_frame_gives_way(served, make_vqa_frame):
    frames = [make_vqa_frame(value) for value in (1, 2, 3, 4)]
    for frame in frames[:3]:
        await served.stub.Infer(frame)
    assert (await served.ask(frames[0].request_id, "still?")).status_code == 200
    await served.stub.Infer(frames[3])
    statuses = [(await served.ask(frame.request_id, "there?")).status_code for frame in frames]
    assert statuses == [200, 404, 200, 200]


async def test_metrics(served, make_vqa_frame):
    before = samples(await served.seen())
    frame = make_vqa_frame(8, "a", generation=link_pb2.Generation(max_new_tokens=3))
    await served.stub.Infer(frame)
    await served.ask(frame.request_id, "b", max_new_tokens=2)
    await served.client.post("/v1/vqa", json=body(max_new_tokens=4))
    after = samples(await served.seen())
    assert 0 < after["thinwire_held_frames"] <= 3
    assert after["thinwire_held_bytes"] == 100 * after["thinwire_held_frames"]
    questions = "thinwire_questions_total{outcome=ok,service=cloud}"
    assert after[questions] - before[questions] == 3
    assert after["thinwire_answer_tokens_sum"] - before["thinwire_answer_tokens_sum"] == 9
    for kind, count in (("frame", 1), ("image", 1), ("question", 3)):
        name = f"thinwire_model_seconds_count{{kind={kind}}}"
        assert after[name] - before.get(name, 0) == count
