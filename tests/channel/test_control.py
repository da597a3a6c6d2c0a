"""The channel can be changed while it runs."""

from typing import Any

import grpc
import grpc.aio
import pytest

from channel.profiles import Profile
from tests.channel.conftest import MakeFrame, Rig
from thinwire.v1 import control_pb2

RAYLEIGH = Profile("rayleigh", -2.0, seed=9, symbol_rate_hz=5000.0, inject_airtime=False)


async def set_profile(rig: Rig, link_id: str, profile: Profile) -> control_pb2.Profile:
    return await rig.control.SetProfile(control_pb2.SetProfileRequest(link_id=link_id, profile=profile.to_proto()))


async def test_a_change_holds_from_the_next_frame_on_for_its_link_only(rig: Rig, make_frame: MakeFrame) -> None:
    await rig.link.Infer(make_frame())
    assert Profile.from_proto(await set_profile(rig, "camera-1", RAYLEIGH)) == RAYLEIGH
    await rig.link.Infer(make_frame(sequence_number=4))
    await rig.link.Infer(make_frame(link_id="camera-2"))
    stamped = [(frame.reception.model, frame.reception.snr_db) for frame in rig.cloud.frames]
    assert stamped == [("awgn", 10.0), ("rayleigh", -2.0), ("awgn", 10.0)]


async def test_a_new_default_holds_for_links_without_their_own(rig: Rig, make_frame: MakeFrame) -> None:
    await set_profile(rig, "camera-1", RAYLEIGH)
    await set_profile(rig, "", Profile(snr_db=1.0))
    await rig.link.Infer(make_frame())
    await rig.link.Infer(make_frame(link_id="camera-2"))
    assert [frame.reception.snr_db for frame in rig.cloud.frames] == [-2.0, 1.0]


async def test_the_profile_in_effect_can_be_read(rig: Rig) -> None:
    await set_profile(rig, "camera-1", RAYLEIGH)
    for link_id, expected in (("camera-1", RAYLEIGH), ("camera-2", Profile()), ("", Profile())):
        message = await rig.control.GetProfile(control_pb2.GetProfileRequest(link_id=link_id))
        assert Profile.from_proto(message) == expected


async def test_links_are_listed_with_what_they_sent(rig: Rig, make_frame: MakeFrame) -> None:
    await set_profile(rig, "camera-2", RAYLEIGH)
    await rig.link.Infer(make_frame(4, 8))
    await rig.link.Infer(make_frame(2, 8))
    links = {link.link_id: link for link in (await rig.control.ListLinks(control_pb2.ListLinksRequest())).links}
    assert sorted(links) == ["camera-1", "camera-2"]
    first, second = links["camera-1"], links["camera-2"]
    assert (first.frames, first.channel_uses, first.channel_uses_max) == (2, 48, 32)
    assert (second.frames, second.channel_uses, second.channel_uses_max) == (0, 0, 0)
    assert (Profile.from_proto(first.profile), Profile.from_proto(second.profile)) == (Profile(), RAYLEIGH)


@pytest.mark.parametrize(
    "request_",
    [
        control_pb2.SetProfileRequest(),
        control_pb2.SetProfileRequest(profile=control_pb2.Profile()),
        control_pb2.SetProfileRequest(profile=control_pb2.Profile(model="none", symbol_rate_hz=1.0)),
        control_pb2.SetProfileRequest(profile=control_pb2.Profile(model="awgn", snr_db=61, symbol_rate_hz=1.0)),
        control_pb2.SetProfileRequest(profile=control_pb2.Profile(model="awgn")),
        control_pb2.SetProfileRequest(link_id="x" * 65, profile=Profile().to_proto()),
    ],
)
async def test_a_profile_that_cannot_be_is_refused_and_changes_nothing(rig: Rig, request_: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.control.SetProfile(request_)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert dict(caught.value.trailing_metadata())["thinwire-error"] == "invalid_request"
    assert Profile.from_proto(await rig.control.GetProfile(control_pb2.GetProfileRequest())) == Profile()
