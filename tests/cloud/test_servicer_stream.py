"""Many frames over one call."""

import asyncio
import logging
from functools import partial

import grpc

from cloud import servicer as module
from cloud.servicer import SemanticLinkServicer
from tests.cloud.conftest import MAX_QUEUE, POISON


async def test_a_stream_goes_on_after_a_bad_frame(stub, make_frame):
    frames = [make_frame(n, sequence_number=n) for n in range(5)]
    frames[2].symbols = b"short"
    frames[3] = make_frame(POISON, sequence_number=3)
    results = {result.sequence_number: result async for result in stub.Stream(iter(frames))}
    assert sorted(results) == [0, 1, 2, 3, 4]
    for n, result in results.items():
        assert (result.link_id, result.request_id) == ("test", frames[n].request_id)
        if n in (2, 3):
            assert result.problem.code == {2: "invalid_frame", 3: "internal"}[n]
            assert result.problem.detail
            assert "secret" not in result.problem.detail
            assert not result.outputs
        else:
            assert result.logits[0] == n
            assert not result.HasField("problem")


async def test_stream_results_come_as_they_are_ready(stub, classifier, make_frame, until):
    done, held = make_frame(1), make_frame(2)
    await stub.Infer(done)
    classifier.gate.clear()
    call = stub.Stream()
    await call.write(held)
    await until(lambda: classifier.runs == 2)
    await call.write(done)
    assert (await call.read()).request_id == done.request_id
    classifier.gate.set()
    assert (await call.read()).request_id == held.request_id
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_a_streams_frames_in_flight_are_bounded(stub, classifier, make_frame, monkeypatch, until, waiting):
    monkeypatch.setattr(module, "answer_each", partial(module.answer_each, max_in_flight=3))
    classifier.gate.clear()
    call = stub.Stream(iter([make_frame(n, sequence_number=n) for n in range(6)]))
    await until(lambda: classifier.runs and waiting() == 2)
    await asyncio.sleep(0.05)
    assert waiting() == 2
    classifier.gate.set()
    # With more in flight than the queue holds, some would have been refused.
    assert sorted([result.logits[0] async for result in call]) == [0, 1, 2, 3, 4, 5]


async def test_a_cancelled_stream_frees_its_places(stub, classifier, make_frame, occupy, until, waiting, caplog):
    first = await occupy()
    call = stub.Stream(iter([make_frame(n) for n in range(3)]))
    await until(lambda: waiting() == 3)
    call.cancel()
    await until(lambda: not waiting())
    classifier.gate.set()
    await first
    assert classifier.runs == 1
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_results_of_a_stream_are_written_one_at_a_time(bundle, task, make_frame):
    class Peer:
        def __init__(self):
            self.writing = False
            self.results = []

        def invocation_metadata(self):
            return ()

        def time_remaining(self):
            return None

        async def write(self, result):
            assert not self.writing, "gRPC refuses a second message while one is on its way"
            self.writing = True
            await asyncio.sleep(0.001)
            self.results.append(result)
            self.writing = False

    async def frames():
        for n in range(MAX_QUEUE):
            yield make_frame(n)

    peer = Peer()
    await SemanticLinkServicer([task]).Stream(frames(), peer)
    assert sorted(result.logits[0] for result in peer.results) == list(range(MAX_QUEUE))
