"""Questions about held frames over REST: streamed, given up, broken half-way."""

import asyncio
import json

import pytest

from tests.cloud.vqa_server import UNKNOWN, about, check_problem, events_of
from tests.exposition import outcomes

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", f"{UNKNOWN}-1", "%00", "é" * 100])
async def test_unknown_frames(served, name):
    for stream in (False, True):
        check_problem(await served.ask(name, "what?", stream), 404, "unknown_frame")


async def test_a_frames_id_may_be_in_either_case(served, make_vqa_frame):
    frame = make_vqa_frame(2)
    frame.request_id = "0123456789abcdef" * 2
    await served.stub.Infer(frame)
    for name in (frame.request_id, frame.request_id.upper()):
        assert (await served.ask(name, "what?")).json()["id"] == frame.request_id
        async with served.stream(name, "what?") as response:
            *_, last = await events_of(response)
        assert json.loads(last.removeprefix("data: "))["id"] == frame.request_id


BAD_QUESTIONS = {
    "empty": about(""),
    "too long": about("a" * 2001),
    "100 kB": about("a" * 100_000),
    "number": about(7),
    "surrogate": b'{"inputs": {"question": "\\ud800"}}',
    "not UTF-8": b'{"inputs": {"question": "\xff\xfe"}}',
    "not JSON": b"{",
    "link": about("what?", policy="p"),
    "misspelt": about("what?") | {"steam": True},
    "parameter": about("what?", max_new_tokens=0),
    "no boolean": about("what?") | {"stream": "yes"},
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
async def test_bad_questions_about_a_frame(served, make_vqa_frame, name):
    frame = make_vqa_frame(2)
    await served.stub.Infer(frame)
    content = BAD_QUESTIONS[name]
    content = content if isinstance(content, bytes) else json.dumps(content).encode()
    url, headers = f"/v1/frames/{frame.request_id}/questions", {"content-type": "application/json"}
    check_problem(await served.client.post(url, content=content, headers=headers), 422, "invalid_request")
    assert served.model.asked == []
    assert (await served.ask(frame.request_id, "what?")).status_code == 200


async def test_events(served, make_vqa_frame):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)
    async with served.stream(frame.request_id, "what?", max_new_tokens=4) as response:
        events = await events_of(response)
    contents = [json.loads(event.removeprefix("data: ")) for event in events]
    assert contents[:-1] == [{"text": piece} for piece in ("6", " WHAT?", " t0", " p1")]
    assert contents[-1]["outputs"] == [{"answer": "6 WHAT? t0 p1", "score": 0.5}]
    assert contents[-1]["id"] == frame.request_id


async def test_a_client_that_goes_stops_its_answer_and_nobody_elses(served, make_vqa_frame, until):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)
    before = outcomes(await served.seen(), "thinwire_questions_total").get("cancelled", 0)
    served.model.gate.clear()
    blocker = asyncio.create_task(served.ask(frame.request_id, "blocker", max_new_tokens=1))
    await until(lambda: served.model.asked)
    leaver = asyncio.create_task(served.ask(frame.request_id, "gone", True, max_new_tokens=256))
    stayer = asyncio.create_task(served.ask(frame.request_id, "stays", max_new_tokens=2))
    await until(lambda: served.server.tasks[0].questions.waiting() == 2)
    leaver.cancel()
    await until(lambda: served.server.tasks[0].questions.waiting() == 1)
    served.model.gate.set()
    assert (await stayer).json()["outputs"][0]["answer"] == "6 STAYS"
    await blocker
    assert served.model.asked == [["blocker"], ["stays"]]
    assert outcomes(await served.seen(), "thinwire_questions_total")["cancelled"] == before + 1


async def test_a_client_that_goes_in_the_middle_of_its_stream(served, make_vqa_frame, until, monkeypatch, caplog):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)
    told, answer = asyncio.Event(), served.model._answer
    loop = asyncio.get_running_loop()

    def slowly(question):
        tell = question.on_text

        def on_text(text):
            tell(text)
            # The rest waits until the test has read this much.
            served.model.gate.clear()
            loop.call_soon_threadsafe(told.set)

        question.on_text = on_text
        return answer(question)

    monkeypatch.setattr(served.model, "_answer", slowly)
    before = outcomes(await served.seen(), "thinwire_requests_total").get("cancelled", 0)
    async with served.stream(frame.request_id, "what?", max_new_tokens=256) as response:
        assert await anext(response.aiter_lines()) == 'data: {"text": "6"}'
    monkeypatch.undo()
    async with asyncio.timeout(60):
        while outcomes(await served.seen(), "thinwire_requests_total").get("cancelled", 0) == before:
            await asyncio.sleep(0.01)
    served.model.gate.set()
    next_one = await served.ask(frame.request_id, "next", max_new_tokens=2)
    assert next_one.json()["outputs"][0]["answer"] == "6 NEXT"
    # What was given up did not go on to its 256 tokens.
    assert served.model.steps < 10
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_deadline_before_the_first_piece_is_a_problem(served, make_vqa_frame):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)
    served.model.gate.clear()
    for stream in (False, True):
        response = await served.ask(frame.request_id, "what?", stream, timeout_ms=50)
        assert "50 ms" in check_problem(response, 504, "deadline_exceeded")
    served.model.gate.set()
    assert (await served.ask(frame.request_id, "what?")).status_code == 200


async def test_what_breaks_in_the_middle_of_a_stream_is_an_event(served, make_vqa_frame, monkeypatch):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)

    def close_the_gate(question):
        question.on_text("half")
        served.model.gate.clear()
        served.model.gate.wait(60)
        raise ValueError("a secret of the model")

    monkeypatch.setattr(served.model, "_answer", close_the_gate)
    async with served.stream(frame.request_id, "what?", timeout_ms=2000) as response:
        events = await events_of(response)
    served.model.gate.set()
    assert events[0] == 'data: {"text": "half"}'
    name, data = events[-1].split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: "))["error"] == "deadline_exceeded"

    def fail(question):
        question.on_text("half")
        raise ValueError("a secret of the model")

    monkeypatch.setattr(served.model, "_answer", fail)
    async with served.stream(frame.request_id, "what?") as response:
        first, second = await events_of(response)
    problem = json.loads(second.split("\n")[1].removeprefix("data: "))
    assert (first, problem["error"], problem["status"]) == ('data: {"text": "half"}', "internal", 500)
    assert "secret" not in second


async def test_a_question_that_breaks_the_model_does_not_break_its_batch(served, make_vqa_frame, until):
    frame = make_vqa_frame(6)
    await served.stub.Infer(frame)
    served.model.gate.clear()
    names = ["first", "crash", "fine"]
    calls = []
    for number, name in enumerate(names):
        calls.append(asyncio.create_task(served.ask(frame.request_id, name, max_new_tokens=2)))
        await until(lambda: served.model.asked)
        await until(lambda number=number: served.server.tasks[0].questions.waiting() == number)
    served.model.gate.set()
    statuses = [response.status_code for response in await asyncio.gather(*calls)]
    assert statuses == [200, 500, 200]
