"""A stream of frames through the proxy."""

import asyncio
from typing import Any

import grpc
import pytest

from channel.profiles import Profile
from tests.channel.conftest import MakeFrame, Rig, StartRig, until
from thinwire.csi import Csi
from thinwire.errors import BundleMismatchError, InvalidFrameError, OverloadedError
from thinwire.rpc import abort, from_rpc_error
from thinwire.v1 import link_pb2


async def test_a_bad_frame_in_a_stream_does_not_end_it(rig: Rig, make_frame: MakeFrame) -> None:
    async def refuse(frame: link_pb2.Frame, context: Any) -> None:
        if frame.sequence_number == 2:
            await abort(context, BundleMismatchError("this cloud holds bundle abc"))

    rig.cloud.behave = refuse
    frames = [make_frame(sequence_number=number) for number in range(5)]
    frames[1].tokens = 99
    results = {result.sequence_number: result async for result in rig.link.Stream(iter(frames))}
    assert sorted(results) == [0, 1, 2, 3, 4]
    for number in (0, 3, 4):
        assert not results[number].HasField("problem")
        assert results[number].outputs[0].label == "cat"
        assert results[number].channel.channel_uses == 32
    bad, refused_upstream = results[1], results[2]
    assert (bad.link_id, bad.request_id) == (frames[1].link_id, frames[1].request_id)
    assert bad.problem.code == "invalid_frame"
    assert "99 tokens" in bad.problem.detail
    assert refused_upstream.problem == link_pb2.Problem(code="bundle_mismatch", detail="this cloud holds bundle abc")


async def test_what_is_no_frame_ends_its_stream_once_the_others_are_answered(rig: Rig, make_frame: MakeFrame) -> None:
    stream = rig.channel.stream_stream(
        "/thinwire.v1.SemanticLink/Stream", response_deserializer=link_pb2.Result.FromString
    )
    sent = [make_frame(sequence_number=number).SerializeToString() for number in range(3)]
    answered = []

    async def read() -> None:
        async for result in stream(iter([*sent, b"\xff"]), timeout=60):
            answered.append(result.sequence_number)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read()
    assert sorted(answered) == [0, 1, 2]
    assert isinstance(from_rpc_error(raised.value), InvalidFrameError)
    assert (await rig.link.Infer(make_frame())).outputs


async def test_the_time_that_a_frame_has_is_the_deadline_of_its_call(rig: Rig, make_frame: MakeFrame) -> None:
    results = [result async for result in rig.link.Stream(iter([make_frame(timeout_ms=60_000)]))]
    assert len(results) == 1
    assert 30.0 < rig.cloud.remaining_s[0] <= 61.0
    # It is the call's now.
    assert rig.cloud.frames[0].timeout_ms == 0


async def test_a_refusal_says_when_to_come_again_through_the_proxy(rig: Rig, make_frame: MakeFrame) -> None:
    async def refuse(_: link_pb2.Frame, context: Any) -> None:
        await abort(context, OverloadedError("full", 2.5))

    rig.cloud.behave = refuse
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await rig.link.Infer(make_frame())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert from_rpc_error(raised.value).retry_after_s == 2.5
    (result,) = [result async for result in rig.link.Stream(iter([make_frame(sequence_number=1)]))]
    assert (result.problem.code, result.problem.retry_after_ms) == ("overloaded", 2500)


async def test_a_stream_meets_the_noise_that_single_frames_meet(rig: Rig, make_frame: MakeFrame) -> None:
    frames = [make_frame(sequence_number=number) for number in range(3)]
    for frame in frames:
        await rig.link.Infer(frame)
    alone = {received.sequence_number: received.symbols for received in rig.cloud.frames}
    rig.cloud.frames.clear()
    assert len([result async for result in rig.link.Stream(iter(reversed(frames)))]) == 3
    assert {received.sequence_number: received.symbols for received in rig.cloud.frames} == alone


async def test_results_of_a_stream_come_as_they_are_ready_from_a_bounded_number(
    rig: Rig, make_frame: MakeFrame
) -> None:
    release = asyncio.Event()

    async def hold_all_but_the_second(frame: link_pb2.Frame, context: Any) -> None:
        if frame.sequence_number != 1:
            await release.wait()

    rig.cloud.behave = hold_all_but_the_second
    results = aiter(rig.link.Stream(make_frame(sequence_number=number) for number in range(80)))
    assert (await anext(results)).sequence_number == 1
    # The second frame made room for one more than the 64 at once.
    await until(lambda: len(rig.cloud.frames) == 65)
    await asyncio.sleep(0.1)
    assert len(rig.cloud.frames) == 65
    release.set()
    rest = {result.sequence_number async for result in results}
    assert rest == set(range(80)) - {1}


async def test_a_stream_whose_client_goes_away_cancels_what_is_in_flight(rig: Rig, make_frame: MakeFrame) -> None:
    cancelled: list[int] = []

    async def sleep(frame: link_pb2.Frame, context: Any) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(frame.sequence_number)
            raise

    rig.cloud.behave = sleep
    call = rig.link.Stream(make_frame(sequence_number=number) for number in range(3))
    await until(lambda: len(rig.cloud.frames) == 3)
    call.cancel()
    await until(lambda: sorted(cancelled) == [0, 1, 2])
    rig.cloud.behave = None
    assert (await rig.link.Infer(make_frame())).outputs[0].label == "cat"


async def test_a_stream_parses_no_csi_but_what_a_frame_asks_for(
    start_rig: StartRig, make_frame: MakeFrame, csi_parsed: list[str]
) -> None:
    rig = await start_rig(Profile(csi=Csi.parse("pilots:count=2")))
    csi_parsed.clear()
    frames = [make_frame(sequence_number=number) for number in range(20)]
    frames[7].channel.csi = "none"
    results = {result.sequence_number: result async for result in rig.link.Stream(iter(frames))}
    assert [results[number].channel.csi for number in (0, 7, 19)] == ["pilots:count=2", "none", "pilots:count=2"]
    assert csi_parsed == ["none"]
