import asyncio
import logging
import math

import grpc
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from cloud.classification import rank
from cloud.servicer import SemanticLinkServicer
from tests.cloud.conftest import MAX_QUEUE, POISON
from thinwire import rpc
from thinwire.equalise import receive
from thinwire.errors import InvalidFrameError
from thinwire.frames import check_frame, describe, read_reception
from thinwire.v1 import link_pb2, link_pb2_grpc


async def test_infer_answers_with_ids_labels_and_logits(stub, make_frame):
    frame = make_frame(2 - 1j, tokens=3, symbols_per_token=4, sequence_number=7, top_k=2)
    result = await stub.Infer(frame)
    assert (result.link_id, result.request_id, result.sequence_number) == ("test", frame.request_id, 7)
    assert list(result.logits) == [2, -1, 0, 3, 4, 0, -1]
    assert [output.label for output in result.outputs] == ["wide", "tall"]
    exponentials = np.exp([2.0, -1, 0, 3, 4, 0, -1])
    assert result.outputs[0].score == pytest.approx(exponentials[4] / exponentials.sum(), rel=1e-6)
    assert 0 < result.cloud_ms < 60_000
    assert not result.HasField("problem")
    assert not result.HasField("channel")


@pytest.mark.parametrize(("top_k", "count"), [(0, 5), (1, 1), (7, 7), (4_000_000_000, 7)])
async def test_top_k_is_bounded_by_the_classes(stub, make_frame, top_k, count):
    result = await stub.Infer(make_frame(top_k=top_k, want_logits=False))
    assert len(result.outputs) == count
    assert list(result.logits) == []


async def test_an_empty_task_is_the_bundles(stub, make_frame):
    assert (await stub.Infer(make_frame(task=""))).outputs


async def test_frames_of_many_shapes_run_together_and_each_gets_its_own(
    stub, classifier, make_frame, occupy, until, waiting
):
    first = await occupy()
    shapes = [(1, 2), (5, 8), (17, 4), (2, 1)]
    calls = [asyncio.ensure_future(stub.Infer(make_frame(n + 1, n, s))) for n, s in shapes]
    await until(lambda: waiting() == len(shapes))
    classifier.gate.set()
    results = await asyncio.gather(*calls)
    assert [list(result.logits[:5]) for result in results] == [[n + 1, 0, 0, n, s] for n, s in shapes]
    assert [sorted(batch) for batch in classifier.frame_batches] == [[(3, 4)], sorted(shapes)]
    await first


async def test_the_reception_is_equalised(stub, make_frame):
    gain, sent = 0.5 - 1.5j, 0.75 + 0.25j
    reception = link_pb2.Reception(noise_variance=0.2, gain_real=gain.real, gain_imag=gain.imag)
    result = await stub.Infer(make_frame(gain * sent, reception=reception))
    assert result.logits[:3] == pytest.approx([sent.real, sent.imag, 0.2 / abs(gain) ** 2], rel=1e-5)


async def test_what_arrived_is_told_to_those_who_ask(stub, make_frame):
    frame = make_frame(0.5 - 1.5j, tokens=3, symbols_per_token=2, want_received=True)
    frame.reception.CopyFrom(link_pb2.Reception(noise_variance=0.2, gain_real=2.0))
    assert (await stub.Infer(frame)).received == frame.symbols
    frame.want_received = False
    assert (await stub.Infer(frame)).received == b""


@pytest.mark.parametrize("equaliser", ["mmse", "zf"])
async def test_gains_and_variances_may_differ_by_symbol(make_frame, equaliser):
    frame = make_frame(0.5j, tokens=2, symbols_per_token=2)
    gains, variances = np.array([[1, 2j], [-1, 0]], np.complex64), np.array([[0.1, 0.2], [0.3, 0.4]], np.float32)
    frame.reception.CopyFrom(describe(gains, variances))
    symbols = check_frame(frame)
    expected = receive(symbols, gains, variances, equaliser)
    found = receive(symbols, *read_reception(frame), equaliser)
    assert np.array_equal(found.symbols, expected.symbols)
    assert found.noise_variance == expected.noise_variance


async def test_without_a_reception_the_link_is_perfect(stub, make_frame):
    assert list((await stub.Infer(make_frame(0.1 - 0.3j))).logits[:3]) == [np.float32(0.1), np.float32(-0.3), 0]


def reception(**fields):
    return {"reception": link_pb2.Reception(**({"gain_real": 1.0} | fields))}


HUGE = {"value": 1e35, **reception(gain_real=1e-6)}
REFUSED = {
    "link id": ({"link_id": "a b"}, "INVALID_ARGUMENT", "invalid_frame"),
    "request id": ({"request_id": "7"}, "INVALID_ARGUMENT", "invalid_frame"),
    "no tokens": ({"tokens": 0, "symbols": b""}, "INVALID_ARGUMENT", "invalid_frame"),
    "length": ({"symbols": b"1234"}, "INVALID_ARGUMENT", "invalid_frame"),
    "not finite": ({"value": math.nan}, "INVALID_ARGUMENT", "invalid_frame"),
    "bundle": ({"bundle_digest": "0" * 64}, "FAILED_PRECONDITION", "bundle_mismatch"),
    "no bundle": ({"bundle_digest": ""}, "FAILED_PRECONDITION", "bundle_mismatch"),
    "task": ({"task": "vqa"}, "NOT_FOUND", "unknown_task"),
    "rate": ({"symbols_per_token": 9}, "INVALID_ARGUMENT", "invalid_frame"),
    "tokens": ({"tokens": 18}, "INVALID_ARGUMENT", "invalid_frame"),
    "side information": ({"side_information": b"1", "side_information_bits": 8}, "INVALID_ARGUMENT", "invalid_frame"),
    "question": ({"question": "what?"}, "INVALID_ARGUMENT", "invalid_request"),
    "generation": ({"generation": link_pb2.Generation()}, "INVALID_ARGUMENT", "invalid_request"),
    "a clip": ({"transcription": link_pb2.Transcription()}, "INVALID_ARGUMENT", "invalid_request"),
    "gain": (reception(gain_imag=math.nan), "INVALID_ARGUMENT", "invalid_frame"),
    "infinite noise": (reception(noise_variance=math.inf), "INVALID_ARGUMENT", "invalid_frame"),
    "no noise": (reception(noise_variance=math.nan), "INVALID_ARGUMENT", "invalid_frame"),
    "negative noise": (reception(noise_variance=-1e-9), "INVALID_ARGUMENT", "invalid_frame"),
    "gains": (reception(gains=b"1234"), "INVALID_ARGUMENT", "invalid_frame"),
    "noises": (reception(noise_variances=b"1234"), "INVALID_ARGUMENT", "invalid_frame"),
    "overflow": (HUGE, "INVALID_ARGUMENT", "invalid_frame"),
    "overflow of the noise": (reception(gain_real=0, noise_variance=1e30), "INVALID_ARGUMENT", "invalid_frame"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_frames(stub, classifier, make_frame, name):
    fields, status, code = REFUSED[name]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame(**fields))
    assert raised.value.code().name == status
    assert dict(raised.value.trailing_metadata())[rpc.ERROR_METADATA] == code
    assert raised.value.details()
    assert classifier.runs == 0
    assert (await stub.Infer(make_frame())).outputs


async def test_the_error_survives_the_wire(stub, make_frame):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame(tokens=18))
    error = rpc.from_rpc_error(raised.value)
    assert isinstance(error, InvalidFrameError)
    assert "1 to 17" in str(error)


async def test_an_unexpected_error_is_logged_and_tells_the_peer_nothing(stub, make_frame, caplog):
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame(POISON))
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert dict(raised.value.trailing_metadata())[rpc.ERROR_METADATA] == "internal"
    assert "secret" not in raised.value.details()
    assert "Traceback" not in raised.value.details()
    assert "a secret of the model" in caplog.text
    assert (await stub.Infer(make_frame())).outputs


async def test_a_poisonous_frame_does_not_fail_its_batch(stub, classifier, make_frame, occupy, until, waiting):
    first = await occupy()
    calls = [asyncio.ensure_future(stub.Infer(make_frame(value))) for value in (1, POISON, 3)]
    await until(lambda: waiting() == 3)
    classifier.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert (results[0].logits[0], results[2].logits[0]) == (1, 3)
    assert results[1].code() is grpc.StatusCode.INTERNAL
    assert len(classifier.frame_batches[1]) == 3
    await first


async def test_an_answer_that_is_not_finite_is_no_answer(stub, classifier, make_frame):
    classifier._describe = lambda frame: [math.nan] * 7
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame())
    assert rpc.from_rpc_error(raised.value).code == "invalid_frame"


async def test_a_full_queue_is_exhausted_and_says_when_to_come_again(task, batcher, classifier, make_frame, until):
    classifier.gate.clear()
    frame = make_frame()
    tokens = receive(check_frame(frame), *read_reception(frame))
    running = asyncio.create_task(batcher.submit(tokens))
    await until(lambda: classifier.runs)
    waiting = [asyncio.create_task(batcher.submit(tokens)) for _ in range(MAX_QUEUE)]
    await asyncio.sleep(0)
    server = rpc.Server([])
    link = SemanticLinkServicer([task])
    link_pb2_grpc.add_SemanticLinkServicer_to_server(link, server.grpc_server)
    port = await server.start("127.0.0.1:0")
    async with rpc.open_channel(f"127.0.0.1:{port}") as channel:
        stub = link_pb2_grpc.SemanticLinkStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Infer(make_frame())
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert int(dict(raised.value.trailing_metadata())[rpc.RETRY_METADATA]) > 0
        error = rpc.from_rpc_error(raised.value)
        assert (error.code, 0 < error.retry_after_s < 60) == ("overloaded", True)
        (streamed,) = [result async for result in stub.Stream(iter([make_frame()]))]
        assert (streamed.problem.code, streamed.problem.retry_after_ms > 0) == ("overloaded", True)
        for task in waiting:
            task.cancel()
        await asyncio.sleep(0)
        classifier.gate.set()
        assert (await stub.Infer(make_frame())).outputs
        await running
    await server.stop(0.0)


async def test_a_deadline_that_passes_frees_its_place(stub, classifier, make_frame, occupy, until, waiting):
    first = await occupy()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame(), timeout=0.05)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: not waiting())
    classifier.gate.set()
    await first
    assert classifier.runs == 1


async def test_a_cancelled_call_frees_its_place(stub, classifier, make_frame, occupy, until, waiting, caplog):
    caplog.set_level(logging.INFO)
    first = await occupy()
    call = stub.Infer(make_frame())
    await until(lambda: waiting() == 1)
    call.cancel()
    await until(lambda: not waiting())
    await until(lambda: any(getattr(record, "error", "") == "cancelled" for record in caplog.records))
    classifier.gate.set()
    await first
    assert classifier.runs == 1


async def test_a_repeated_frame_is_computed_once(stub, classifier, make_frame, until):
    classifier.gate.clear()
    frame = make_frame(3, top_k=1)
    calls = [asyncio.ensure_future(stub.Infer(frame)) for _ in range(2)]
    await until(lambda: classifier.runs)
    await asyncio.sleep(0.05)
    classifier.gate.set()
    first, second = await asyncio.gather(*calls)
    # The repetition may ask for more labels.
    frame.top_k = 3
    third = await stub.Infer(frame)
    assert first.logits == second.logits == third.logits
    assert [len(result.outputs) for result in (first, second, third)] == [1, 1, 3]
    assert classifier.frame_batches == [[(3, 4)]]


@pytest.mark.parametrize(
    "other", [{"value": 2}, {"tokens": 4, "symbols_per_token": 3}, reception(noise_variance=0.1)], ids=repr
)
async def test_another_frame_under_the_same_name_is_refused(stub, classifier, make_frame, other):
    frame = make_frame(1, 3, 4)
    await stub.Infer(frame)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Infer(make_frame(**{"request_id": frame.request_id} | other))
    assert raised.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert rpc.from_rpc_error(raised.value).code == "id_taken"
    assert classifier.runs == 1


async def test_a_failure_is_not_remembered(stub, classifier, make_frame):
    frame = make_frame(POISON)
    for runs in (1, 2):
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.Infer(frame)
        assert classifier.runs == runs


async def test_a_frame_leaves_one_line_in_the_log(stub, make_frame, caplog):
    caplog.set_level(logging.INFO, logger="cloud")
    frame = make_frame(tokens=3, symbols_per_token=4)
    await stub.Infer(frame)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.Infer(make_frame(tokens=18, policy_id="p" * 500))
    good, bad = [record for record in caplog.records if record.name == "cloud.servicer"]
    assert (good.request_id, good.link_id, good.tokens, good.channel_uses, good.policy) == (
        frame.request_id, "test", 3, 12, "p1",
    )  # fmt: skip
    assert 0 < good.ms < 60_000
    assert not hasattr(good, "error")
    assert (bad.error, len(bad.policy)) == ("invalid_frame", 128)


@settings(max_examples=50, deadline=None)
@given(
    logits=st_numpy.arrays(np.float32, st.integers(1, 12), elements=st.floats(-1e4, 1e4, width=32)),
    top_k=st.integers(1, 20),
)
def test_labels_are_ranked(logits, top_k):
    names = [str(n) for n in range(len(logits))]
    (ranking,) = rank(logits[None])
    ranked = ranking.best(names, top_k)
    assert len(ranked) == min(top_k, len(logits))
    scores = [score for _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    assert logits[int(ranked[0][0])] == logits.max()
    everything = dict(ranking.best(names, len(logits)))
    assert sum(everything.values()) == pytest.approx(1)
    assert all(everything[name] == score for name, score in ranked)


def test_scores_that_vanish_do_not_change_the_order():
    _, ranking = rank(np.array([[0.0, 0.0, 0.0], [0.0, -900.0, -800.0]], dtype=np.float32))
    assert ranking.best("abc", 3) == [("a", 1.0), ("c", 0.0), ("b", 0.0)]


finite = st.floats(-1e3, 1e3, width=32)


@settings(max_examples=50, deadline=None)
@given(sent=st.complex_numbers(max_magnitude=10), real=finite, imaginary=finite, noise=st.floats(0, 10))
def test_equalisation_restores_what_was_sent(make_frame, sent, real, imaginary, noise):
    gain = complex(real, imaginary)
    received = np.complex64(sent * gain)
    if abs(gain) < 1e-2 or (sent and abs(received) < 1e-30):
        return
    frame = make_frame(received, **reception(gain_real=real, gain_imag=imaginary, noise_variance=noise))
    tokens = receive(np.full((2, 3), received), *read_reception(frame))
    assert tokens.symbols.dtype == np.complex64
    assert tokens.symbols.shape == (2, 3)
    np.testing.assert_allclose(tokens.symbols, sent, rtol=1e-5, atol=1e-30)
    assert tokens.noise_variance == pytest.approx(noise / abs(gain) ** 2, rel=1e-5)
