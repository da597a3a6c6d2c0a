"""Frames that are lost on the air: drawn by key, told to the sender, and without effect on what the others meet."""

import hashlib
import math
import struct

import grpc
import grpc.aio
import pytest

from channel.profiles import Profile
from channel.realisation import keyed_uniform
from channel.transmission import is_lost, transmit
from tests.channel.conftest import FakeClock, MakeFrame, Rig, StartRig
from thinwire.v1 import control_pb2, link_pb2

KEY = (7, "camera-1", "00ff" * 8, 3)
COUNT = 20_000


def first_that(lost: bool, make_frame: MakeFrame, profile: Profile) -> link_pb2.Frame:
    """A frame whose first transmission is lost and whose second is not, or the reverse."""
    frames = (make_frame(sequence_number=number) for number in range(100))
    return next(frame for frame in frames if is_lost(frame, profile, 1) is lost is not is_lost(frame, profile, 2))


def test_the_draw_is_the_documented_one() -> None:
    encoding = struct.pack("<QQ8sQ32sQQ", 7, 8, b"camera-1", 32, b"00ff" * 8, 3, 5)
    (word,) = struct.unpack("<Q", hashlib.blake2b(encoding, digest_size=8, person=b"loss").digest())
    assert keyed_uniform(*KEY, 5) == (word >> 11) / 2**53


@pytest.mark.parametrize("position", range(5))
def test_every_part_of_the_key_matters(position: int) -> None:
    parts = [*KEY, 1]
    other = [*parts]
    other[position] = f"{parts[position]}x" if isinstance(parts[position], str) else int(parts[position]) + 1
    assert keyed_uniform(*other) != keyed_uniform(*parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("by", ["frame", "transmission"])
def test_the_share_of_lost_frames_is_the_probability(make_frame: MakeFrame, share: float, by: str) -> None:
    profile, frame = Profile(frame_loss=share), make_frame()
    lost = 0
    for number in range(COUNT):
        if by == "frame":
            frame.sequence_number = number
        lost += is_lost(frame, profile, 1 if by == "frame" else number + 1)
    # 3.29 standard deviations: 99.9% of a binomial.
    assert abs(lost - COUNT * share) < 3.29 * math.sqrt(COUNT * share * (1 - share))


def test_nothing_is_lost_without_loss_and_the_frames_own_seed_counts(make_frame: MakeFrame) -> None:
    assert not any(is_lost(make_frame(sequence_number=number), Profile(), 1) for number in range(1000))
    frames = [make_frame(sequence_number=number) for number in range(64)]
    asking = [
        make_frame(sequence_number=number, channel=link_pb2.ChannelRequest(seed=9, model="rayleigh", snr_db=0.0))
        for number in range(64)
    ]
    own = [is_lost(frame, Profile(frame_loss=0.5, seed=9), 1) for frame in frames]
    assert [is_lost(frame, Profile(frame_loss=0.5), 1) for frame in asking] == own
    assert [is_lost(frame, Profile(frame_loss=0.5), 1) for frame in frames] != own


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
async def test_a_lost_frame_is_refused_counted_and_meets_its_own_noise_when_sent_again(
    start_rig: StartRig, make_frame: MakeFrame, model: str
) -> None:
    profile = Profile(model, frame_loss=0.5)
    frame = first_that(True, make_frame, profile)
    rig = await start_rig(profile)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.link.Infer(frame)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert dict(caught.value.trailing_metadata())["thinwire-error"] == "frame_lost"
    # Once: gRPC did not send it again by itself.
    assert await counted(rig) == (1, 32)
    assert rig.cloud.frames == []
    result = await rig.link.Infer(frame)
    assert (result.channel.transmissions, result.channel.channel_uses) == (2, 32)
    assert rig.cloud.frames == [transmit(frame, Profile(model)).frame]
    assert await counted(rig) == (2, 64)


async def test_a_lost_frame_in_a_stream_is_a_problem_and_the_others_go_on(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    profile = Profile(frame_loss=0.3)
    rig = await start_rig(profile)
    frames = [make_frame(sequence_number=number) for number in range(60)]
    results = {result.sequence_number: result async for result in rig.link.Stream(iter(frames))}
    lost = {frame.sequence_number for frame in frames if is_lost(frame, profile, 1)}
    assert 0 < len(lost) < 60
    assert {number for number, result in results.items() if result.problem.code == "frame_lost"} == lost
    assert len(results) == 60
    assert await counted(rig) == (60, 60 * 32)


async def test_a_lost_frame_occupies_the_channel(start_rig: StartRig, make_frame: MakeFrame) -> None:
    profile = Profile(frame_loss=0.5, symbol_rate_hz=100.0, inject_airtime=True)
    frame = first_that(True, make_frame, profile)
    rig = await start_rig(profile)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.link.Infer(frame, timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_transmissions_are_counted_as_long_as_the_frame_is_remembered(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    clock = FakeClock()
    rig = await start_rig(clock=clock)
    counts = []
    for wait_s in (0.0, 599.0, 599.0, 600.0):
        clock.now += wait_s
        counts.append((await rig.link.Infer(make_frame())).channel.transmissions)
    assert counts == [1, 2, 3, 1]


async def test_loss_is_set_and_shown_by_control(rig: Rig) -> None:
    request = control_pb2.SetProfileRequest(link_id="camera-1", profile=Profile(frame_loss=0.25).to_proto())
    assert (await rig.control.SetProfile(request)).frame_loss == 0.25
    links = (await rig.control.ListLinks(control_pb2.ListLinksRequest())).links
    assert [link.profile.frame_loss for link in links] == [0.25]
    request.profile.frame_loss = 1.0
    with pytest.raises(grpc.aio.AioRpcError, match="frame_loss must be at least 0 and below 1, got 1"):
        await rig.control.SetProfile(request)


async def counted(rig: Rig) -> tuple[int, int]:
    """Frames and uses of the only link."""
    (link,) = (await rig.control.ListLinks(control_pb2.ListLinksRequest())).links
    return link.frames, link.channel_uses
