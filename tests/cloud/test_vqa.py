"""The task "vqa" through a server: frames over gRPC, questions and images over REST."""

import asyncio
import base64
import io
import json

import grpc
import httpx
import pytest
import pytest_asyncio
from PIL import Image

from cloud.server import CloudServer, Settings
from tests.cloud.conftest import POISON
from tests.exposition import outcomes, samples
from thinwire import rpc
from thinwire.v1 import link_pb2, link_pb2_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")
UNKNOWN = "0" * 32


def encode(colour=(200, 100, 50)):
    buffer = io.BytesIO()
    Image.new("RGB", (20, 16), colour).save(buffer, "PNG")
    return buffer.getvalue()


BLUE = encode((0, 0, 255))


def body(question="what?", image=BLUE, **parameters):
    return {"inputs": {"image": base64.b64encode(image).decode(), "question": question}, "parameters": parameters}


def about(question, stream=False, **parameters):
    return {"inputs": {"question": question}, "parameters": parameters, "stream": stream}


def chat(question="what?", url=None, **fields):
    url = url or "data:image/png;base64," + base64.b64encode(BLUE).decode()
    content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "any", "messages": [{"role": "user", "content": content}], **fields}


class Served:
    def __init__(self, client, stub, model, server):
        self.client, self.stub, self.model, self.server = client, stub, model, server

    async def ask(self, frame_id, *arguments, **parameters):
        return await self.client.post(f"/v1/frames/{frame_id}/questions", json=about(*arguments, **parameters))

    def stream(self, frame_id, question, **parameters):
        content = about(question, True, **parameters)
        return self.client.stream("POST", f"/v1/frames/{frame_id}/questions", json=content)

    async def seen(self):
        return (await self.client.get("/metrics")).text


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(vqa_bundle, answerer_factory):
    fake = answerer_factory()
    server = CloudServer([(vqa_bundle, fake)], Settings("127.0.0.1:0", rest_port=0, held_frames=3, held_s=30.0))
    await server.start()
    async with (
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.rest_port}", timeout=60) as client,
        rpc.open_channel(f"127.0.0.1:{server.grpc_port}") as channel,
    ):
        yield Served(client, link_pb2_grpc.SemanticLinkStub(channel), fake, server)
    fake.gate.set()
    await server.stop()


@pytest.fixture
def served(running):
    running.model.viewed.clear()
    running.model.asked.clear()
    running.model.steps = 0
    yield running
    running.model.gate.set()


def check_problem(response, status, code):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["error"] == code
    return response.json()["detail"]


async def events_of(response):
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    return [line for line in (await response.aread()).decode().split("\n\n") if line]


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
    assert rpc.from_rpc_error(raised.value).code == "invalid_frame"


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


@pytest.mark.parametrize("name", [UNKNOWN, "nonsense", f"{UNKNOWN}-1", "%00", "é" * 100])
async def test_unknown_frames(served, name):
    for stream in (False, True):
        check_problem(await served.ask(name, "what?", stream), 404, "unknown_frame")


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
    async with asyncio.timeout(20):
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
        served.model.gate.wait(10)
        raise ValueError("a secret of the model")

    monkeypatch.setattr(served.model, "_answer", close_the_gate)
    async with served.stream(frame.request_id, "what?", timeout_ms=300) as response:
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


async def test_plain_images(served):
    response = await served.client.post("/v1/vqa", json=body("which?", max_new_tokens=3, temperature=1.5))
    assert response.status_code == 200, response.text
    assert response.json()["outputs"] == [{"answer": "b WHICH? t1.5", "score": 0.5}]
    assert response.json()["policy"] is None
    assert served.model.viewed == [(8, 8, 3)]
    files = {"image": ("x.png", encode((0, 255, 0)), "image/png")}
    data = {"question": "où?", "parameters": json.dumps({"max_new_tokens": 2})}
    response = await served.client.post("/v1/vqa", files=files, data=data)
    assert response.json()["outputs"][0]["answer"] == "g OÙ?"


BAD_REQUESTS = {
    "empty question": ({"json": body("")}, "invalid_request"),
    "long question": ({"json": body("a" * 2001)}, "invalid_request"),
    "no image": ({"json": {"inputs": {"question": "q"}}}, "invalid_request"),
    "unreadable": ({"json": body("q", b"abc")}, "invalid_image"),
    "policy": ({"json": body(policy="p3")}, "invalid_request"),
    "budget": ({"json": body(budget={"channel_uses": 64})}, "invalid_request"),
    "labels": ({"json": body(top_k=3)}, "invalid_request"),
    "raw": ({"content": BLUE, "headers": {"content-type": "image/png"}}, "invalid_request"),
    "query": ({"json": body(), "params": {"parameters": "{}"}}, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
async def test_bad_requests_about_images(served, name):
    options, code = BAD_REQUESTS[name]
    check_problem(await served.client.post("/v1/vqa", **options), 422, code)
    assert served.model.asked == []


async def test_a_chat_completion(served, vqa_bundle):
    response = await served.client.post("/v1/chat/completions", json=chat("which?", max_tokens=2))
    assert response.status_code == 200, response.text
    content = response.json()
    assert content["choices"][0]["message"]["content"] == "b WHICH?"
    assert content["choices"][0]["finish_reason"] == "length"
    assert (content["object"], content["model"]) == ("chat.completion", vqa_bundle.name)
    assert content["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_a_chat_completion_in_chunks(served):
    content = chat("which?", max_tokens=2, stream=True, stream_options={"include_usage": True})
    response = await served.client.post("/v1/chat/completions", json=content)
    *events, done = await events_of(response)
    assert done == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks[:-1]) == "b WHICH?"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, None, "length"]
    assert chunks[-1]["usage"]["total_tokens"] == 9
    assert len({chunk["id"] for chunk in chunks}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x.png", "https://example.org/x.png", "file:///etc/passwd"])
async def test_nothing_is_fetched(served, url):
    detail = check_problem(await served.client.post("/v1/chat/completions", json=chat(url=url)), 422, "invalid_request")
    assert "nothing is fetched" in detail
    assert served.model.viewed == []


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


async def test_the_other_task_is_a_problem(served):
    image = {"inputs": base64.b64encode(BLUE).decode()}
    detail = check_problem(await served.client.post("/v1/classify", json=image), 404, "unknown_task")
    assert "'vqa'" in detail


async def test_the_openapi_document_holds_what_is_served(served):
    paths = (await served.client.get("/openapi.json")).json()["paths"]
    expected = {"/v1/vqa", "/v1/frames/{frame_id}/questions", "/v1/chat/completions"}
    assert expected <= paths.keys()
    assert "/v1/classify" not in paths
    for path in expected:
        operation = paths[path]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert "$ref" not in json.dumps(schema)
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert "text/event-stream" in paths["/v1/frames/{frame_id}/questions"]["post"]["responses"]["200"]["content"]
