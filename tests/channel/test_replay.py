"""The served proxy under a trace, by a clock that the test sets."""

import asyncio
from pathlib import Path

import pytest

from channel import server
from channel.profiles import Profile
from channel.trace import Trace
from deploy.cli.main import main
from tests.channel.conftest import FakeClock, MakeFrame, Rig, StartRig
from thinwire.v1 import control_pb2, link_pb2

TRACE = Trace((0.0, 1.0, 3.0, 4.0), (20.0, -5.0, 8.0, 0.0), (1000.0, 2000.0, 500.0, 1.0))


async def set_profile(rig: Rig, link_id: str, profile: Profile) -> Profile:
    request = control_pb2.SetProfileRequest(link_id=link_id, profile=profile.to_proto())
    return Profile.from_proto(await rig.control.SetProfile(request))


def stamped(rig: Rig) -> list[float]:
    return [frame.reception.snr_db for frame in rig.cloud.frames]


async def test_frames_meet_the_trace_as_of_their_arrival(start_rig: StartRig, make_frame: MakeFrame) -> None:
    clock = FakeClock()
    rig = await start_rig(trace=TRACE, clock=clock)
    reports = []
    for number, clock.now in enumerate((1000.0, 1000.9, 1001.0, 1003.5, 1004.0, 1009.0)):
        reports.append((await rig.link.Infer(make_frame(4, 8, sequence_number=number))).channel)
    assert stamped(rig) == [report.snr_db for report in reports] == [20.0, 20.0, -5.0, 8.0, 20.0, -5.0]
    assert [report.airtime_ms for report in reports] == [32.0, 32.0, 16.0, 64.0, 32.0, 16.0]


async def test_a_profile_of_its_own_and_a_requested_snr_win(start_rig: StartRig, make_frame: MakeFrame) -> None:
    clock = FakeClock()
    rig = await start_rig(trace=TRACE, clock=clock)
    clock.now += 1.0
    assert await set_profile(rig, "camera-1", Profile(snr_db=3.0)) == Profile(snr_db=3.0)
    await rig.link.Infer(make_frame())
    await rig.link.Infer(make_frame(link_id="camera-2", channel=link_pb2.ChannelRequest(snr_db=4.0)))
    await rig.link.Infer(make_frame(link_id="camera-3", channel=link_pb2.ChannelRequest(seed=4)))
    assert stamped(rig) == [3.0, 4.0, -5.0]


async def test_a_new_default_still_follows_the_trace_and_control_says_so(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    clock = FakeClock()
    rig = await start_rig(trace=TRACE, clock=clock)
    clock.now += 3.0
    in_effect = Profile("rayleigh", 8.0, seed=5, symbol_rate_hz=500.0)
    assert await set_profile(rig, "", Profile("rayleigh", 1.0, seed=5, symbol_rate_hz=77.0)) == in_effect
    assert Profile.from_proto(await rig.control.GetProfile(control_pb2.GetProfileRequest())) == in_effect
    await rig.link.Infer(make_frame())
    assert (rig.cloud.frames[0].reception.model, stamped(rig)) == ("rayleigh", [8.0])


async def test_a_retry_meets_the_same_noise_although_the_trace_moved_on(
    start_rig: StartRig, make_frame: MakeFrame
) -> None:
    clock = FakeClock()
    rig = await start_rig(Profile("rayleigh"), trace=TRACE, clock=clock)
    await rig.link.Infer(make_frame())
    clock.now += 1.0
    results = [result async for result in rig.link.Stream(iter([make_frame()]))]
    await rig.link.Infer(make_frame(sequence_number=4))
    first, retry, other = rig.cloud.frames
    assert retry == first
    assert (results[0].channel.snr_db, results[0].channel.airtime_ms) == (20.0, 32.0)
    assert other.reception.snr_db == -5.0
    clock.now += 600.0
    await rig.link.Infer(make_frame())
    assert stamped(rig)[-1] == TRACE.at(601.0)[0] == -5.0


async def test_a_retry_meets_the_same_noise_although_the_profile_was_changed(rig: Rig, make_frame: MakeFrame) -> None:
    await rig.link.Infer(make_frame())
    await set_profile(rig, "camera-1", Profile("rayleigh", -2.0, seed=9))
    await rig.link.Infer(make_frame())
    await rig.link.Infer(make_frame(sequence_number=4))
    first, retry, other = rig.cloud.frames
    assert retry == first
    assert (other.reception.model, other.reception.snr_db) == ("rayleigh", -2.0)


async def test_a_refused_frame_is_not_remembered(start_rig: StartRig, make_frame: MakeFrame) -> None:
    clock = FakeClock()
    rig = await start_rig(trace=TRACE, clock=clock)
    broken = make_frame(tokens=5, symbols=b"")
    assert [result.problem.code async for result in rig.link.Stream(iter([broken]))] == ["invalid_frame"]
    clock.now += 1.0
    await rig.link.Infer(make_frame())
    assert stamped(rig) == [-5.0]


def test_the_command_serves_the_trace_that_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[server.Settings] = []

    async def serve(settings: server.Settings) -> None:
        await asyncio.sleep(0)
        served.append(settings)

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr("thinwire.logs.configure", lambda process: None)
    TRACE.write(tmp_path / "trace.csv")
    assert main(["channel", "serve", "--trace", str(tmp_path / "trace.csv"), "--seed", "5"]) == 0
    assert main(["channel", "serve", "--snr", "3"]) == 0
    assert [settings.trace for settings in served] == [TRACE, None]
    assert (served[0].profile.seed, served[1].profile.snr_db) == (5, 3.0)
    assert main(["channel", "serve", "--trace", str(tmp_path / "none.csv")]) == 1
    assert "invalid_request: cannot read the trace" in capsys.readouterr().err
