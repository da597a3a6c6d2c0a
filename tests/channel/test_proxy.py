"""The proxy between a real client and a fake cloud, over gRPC."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from channel.profiles import Profile
from channel.transmission import transmit
from tests.channel.conftest import MakeFrame, Rig, StartRig, until
from thinwire.errors import BundleMismatchError
from thinwire.frames import MAX_TOKENS, check_frame
from thinwire.rpc import abort
from thinwire.v1 import control_pb2, link_pb2


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str | None, str]:
    """Status, ``thinwire-error`` and detail of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), dict(caught.value.trailing_metadata()).get("thinwire-error"), caught.value.details()


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
async def test_symbols_arrive_exactly_as_computed_in_process(rig: Rig, make_frame: MakeFrame, model: str) -> None:
    frame = make_frame(
        question="how many?",
        channel=link_pb2.ChannelRequest(model=model, snr_db=-3.0, seed=17),
        reception=link_pb2.Reception(model="none", snr_db=99.0, gain_real=1.0),
    )
    await rig.link.Infer(frame)
    (received,) = rig.cloud.frames
    symbols = check_frame(frame)
    assert received == transmit(frame, Profile(model, -3.0, seed=17)).frame
    assert not np.array_equal(check_frame(received), symbols)
    assert not received.HasField("channel")


async def test_a_retry_meets_the_same_noise_and_other_frames_do_not(rig: Rig, make_frame: MakeFrame) -> None:
    frame, other = make_frame(), make_frame(sequence_number=4)
    for request in (frame, other, frame):
        await rig.link.Infer(request)
    first, second, retry = (received.symbols for received in rig.cloud.frames)
    assert retry == first != second


async def test_the_frames_own_seed_goes_before_the_profiles(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(Profile(seed=5))
    for seed in (None, 5, 6):
        await rig.link.Infer(make_frame(channel=link_pb2.ChannelRequest(seed=seed)))
    silent, same, different = (received.symbols for received in rig.cloud.frames)
    assert silent == same != different


async def test_the_result_says_what_the_frame_cost(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(Profile("rayleigh", 7.0, symbol_rate_hz=1000.0))
    frame = make_frame(5, 3, side_information=b"\xff\x01", side_information_bits=9)
    result = await rig.link.Infer(frame)
    assert result.channel == link_pb2.ChannelReport(
        model="rayleigh",
        snr_db=7.0,
        channel_uses=24,
        payload_uses=15,
        side_information_uses=9,
        airtime_ms=24.0,
        transmissions=1,
        symbol_rate_hz=1000.0,
        csi="perfect",
    )
    assert (result.request_id, result.outputs[0].label, result.cloud_ms) == (frame.request_id, "cat", 12.5)


BAD_FRAMES = {
    "too few bytes": ({"symbols": b"\0" * 248}, "invalid_frame"),
    "odd bytes": ({"symbols": b"\0" * 255}, "invalid_frame"),
    "no symbols": ({"symbols": b""}, "invalid_frame"),
    "too many tokens": ({"tokens": MAX_TOKENS + 1}, "invalid_frame"),
    "nan": ({"symbols": np.full(32, np.nan + 0j, np.complex64).tobytes()}, "invalid_frame"),
    "infinity": ({"symbols": np.full(32, complex(0, np.inf), np.complex64).tobytes()}, "invalid_frame"),
    "too loud": ({"symbols": np.full(32, 1.01, np.complex64).tobytes()}, "invalid_frame"),
    "side information uncounted": ({"side_information": b"\xff"}, "invalid_frame"),
    "no link": ({"link_id": ""}, "invalid_frame"),
    "no request id": ({"request_id": "7"}, "invalid_frame"),
    "unknown model": ({"channel": link_pb2.ChannelRequest(model="none")}, "invalid_request"),
    "snr out of range": ({"channel": link_pb2.ChannelRequest(snr_db=61.0)}, "invalid_request"),
    "snr nan": ({"channel": link_pb2.ChannelRequest(snr_db=float("nan"))}, "invalid_request"),
}


@pytest.mark.parametrize("name", BAD_FRAMES)
async def test_a_bad_frame_is_refused_and_the_next_works(rig: Rig, make_frame: MakeFrame, name: str) -> None:
    fields, code = BAD_FRAMES[name]
    status, word, detail = await refused(rig.link.Infer(make_frame(**fields)))
    assert (status, word) == (grpc.StatusCode.INVALID_ARGUMENT, code)
    assert detail
    assert rig.cloud.frames == []
    assert (await rig.link.Infer(make_frame())).outputs[0].label == "cat"
    links = (await rig.control.ListLinks(control_pb2.ListLinksRequest())).links
    assert [(link.link_id, link.frames) for link in links] == [("camera-1", 1)]


async def test_a_cloud_that_is_down_is_unavailable_and_tried_by_one_hop_only(rig: Rig, make_frame: MakeFrame) -> None:
    await rig.cloud_server.stop(0)
    status, word, _ = await refused(rig.link.Infer(make_frame()))
    assert (status, word) == (grpc.StatusCode.UNAVAILABLE, "unavailable")
    links = (await rig.control.ListLinks(control_pb2.ListLinksRequest())).links
    assert [link.frames for link in links] == [1]


async def test_an_error_of_the_cloud_keeps_its_status_detail_and_word(rig: Rig, make_frame: MakeFrame) -> None:
    async def known(frame: link_pb2.Frame, context: Any) -> None:
        await abort(context, BundleMismatchError("this cloud holds bundle abc"))

    async def newer(frame: link_pb2.Frame, context: Any) -> None:
        await context.abort(grpc.StatusCode.NOT_FOUND, "later version", (("thinwire-error", "from_the_future"),))

    async def foreign(frame: link_pb2.Frame, context: Any) -> None:
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "a load balancer")

    expected = {
        known: (grpc.StatusCode.FAILED_PRECONDITION, "bundle_mismatch", "this cloud holds bundle abc"),
        newer: (grpc.StatusCode.NOT_FOUND, "from_the_future", "later version"),
        foreign: (grpc.StatusCode.RESOURCE_EXHAUSTED, "internal", "a load balancer"),
    }
    for rig.cloud.behave, error in expected.items():
        assert await refused(rig.link.Infer(make_frame())) == error


async def test_a_deadline_crosses_the_hop(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(default_timeout_s=200.0)
    await rig.link.Infer(make_frame(), timeout=90.0)
    await rig.link.Infer(make_frame())
    with_deadline, without = rig.cloud.remaining_s
    # gRPC rounds what it sends up.
    assert 45.0 < with_deadline < 91.0
    assert 100.0 < without < 201.0


async def test_a_deadline_that_passes_cancels_the_cloud(rig: Rig, make_frame: MakeFrame) -> None:
    cancelled = asyncio.Event()

    async def sleep(frame: link_pb2.Frame, context: Any) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    rig.cloud.behave = sleep
    status, _, _ = await refused(rig.link.Infer(make_frame(), timeout=0.3))
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    async with asyncio.timeout(60):
        await cancelled.wait()


async def test_the_cloud_has_the_default_time_when_there_is_no_deadline(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    rig = await start_rig(default_timeout_s=0.2)

    async def sleep(frame: link_pb2.Frame, context: Any) -> None:
        await asyncio.sleep(600)

    rig.cloud.behave = sleep
    status, word, _ = await refused(rig.link.Infer(make_frame()))
    assert (status, word) == (grpc.StatusCode.DEADLINE_EXCEEDED, "deadline_exceeded")


async def test_a_client_that_goes_away_cancels_the_cloud(rig: Rig, make_frame: MakeFrame) -> None:
    cancelled = asyncio.Event()

    async def sleep(frame: link_pb2.Frame, context: Any) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    rig.cloud.behave = sleep
    call = rig.link.Infer(make_frame())
    await until(lambda: bool(rig.cloud.frames))
    call.cancel()
    async with asyncio.timeout(60):
        await cancelled.wait()


async def test_trace_context_crosses_the_hop_and_nothing_else_does(rig: Rig, make_frame: MakeFrame) -> None:
    trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "vendor=1"}
    await rig.link.Infer(make_frame(), metadata=(*trace.items(), ("cookie", "secret")))
    (metadata,) = rig.cloud.metadata
    assert {key: metadata.get(key) for key in trace} == trace
    assert "cookie" not in metadata


@pytest.mark.parametrize("own", ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "", "one\nline", "é"])
async def test_a_frame_of_a_stream_names_its_own_trace(rig: Rig, make_frame: MakeFrame, own: str) -> None:
    of_the_call = "00-ffffffffffffffffffffffffffffffff-b7ad6b7169203331-01"

    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield make_frame(traceparent=own)

    results = [result async for result in rig.link.Stream(frames(), metadata=(("traceparent", of_the_call),))]
    assert [result.HasField("problem") for result in results] == [False]
    # As metadata now, and nowhere else: the cloud's parent may be the proxy's span.
    assert rig.cloud.metadata[0]["traceparent"] == (own if own.startswith("00-") else of_the_call)
    assert rig.cloud.frames[0].traceparent == ""


async def test_injected_airtime_holds_the_frame(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(Profile(symbol_rate_hz=80.0, inject_airtime=True))
    start = time.perf_counter()
    result = await rig.link.Infer(make_frame(4, 8))
    assert time.perf_counter() - start >= 0.4
    assert result.channel.airtime_ms == pytest.approx(400.0)
    assert result.channel_ms >= 400.0


async def test_accounted_airtime_does_not(start_rig: StartRig, make_frame: MakeFrame) -> None:
    rig = await start_rig(Profile(symbol_rate_hz=1.0, inject_airtime=False))
    result = await rig.link.Infer(make_frame(4, 8), timeout=30.0)
    assert result.channel.airtime_ms == pytest.approx(32_000.0)
    assert result.channel_ms < 30_000.0


async def test_a_frame_whose_deadline_passes_in_the_air_never_arrives(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    rig = await start_rig(Profile(symbol_rate_hz=80.0, inject_airtime=True))
    status, _, _ = await refused(rig.link.Infer(make_frame(4, 8), timeout=0.1))
    assert status is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.sleep(0.5)
    assert rig.cloud.frames == []


async def test_waiting_for_the_cloud_is_not_the_channels_time(rig: Rig, make_frame: MakeFrame) -> None:
    async def sleep(frame: link_pb2.Frame, context: Any) -> None:
        await asyncio.sleep(1.5)

    rig.cloud.behave = sleep
    result = await rig.link.Infer(make_frame())
    assert 0 < result.channel_ms < 1500
