"""A video through the three processes, by the command and by what the experiment on videos sends."""

import json

import pytest

from deploy.cli.main import main
from deploy.pictures import pictures_of
from experiments.harness.processes import counted_by_proxy, link_of
from experiments.video.watching import frame_id_of, watch
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import Fronts
from tests.e2e.peers import PICTURE
from tests.videos import coloured, write_video
from thinwire.bundle import FRONT
from thinwire.channels import NOMINAL


@pytest.fixture(name="clip")
def clip_fixture(tmp_path):
    return write_video(tmp_path / "clip.mp4", coloured(9, 48, 32))


def test_frames_are_answered_in_order_under_policies_that_switch(testbed, capsys, clip):
    switches = ["--switch", "3:11", "--switch", "6:none"]
    assert main(["stream", str(clip), "--url", testbed.edge_url, "--policy", "none", "--json", *switches]) == 0
    *frames, last = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [frame["frame"] for frame in frames] == list(range(9))
    assert len({frame["id"] for frame in frames}) == 9
    policies = [frame["policy"]["id"] for frame in frames]
    uses = [frame["link"]["channel_uses"] for frame in frames]
    assert policies[:3] == policies[6:] == ["none"] * 3
    assert len(set(policies[3:6])) == 1
    assert "none" not in policies[3:6]
    assert max(uses[3:6]) <= 11 < min(uses[:3] + uses[6:])
    summary = last["summary"]
    assert (summary["frames"], summary["policy_switches"]) == (9, 2)
    assert summary["channel_uses_mean"] == pytest.approx(sum(uses) / 9)
    assert summary["median_ms"] <= summary["p95_ms"]


def test_a_picture_that_is_none_ends_the_stream_and_the_ones_before_stay(testbed, capsys, tmp_path):
    for name, content in (("1.png", PICTURE), ("2.png", PICTURE), ("3.png", b"none"), ("4.png", PICTURE)):
        (tmp_path / name).write_bytes(content)
    assert main(["stream", str(tmp_path), "--url", testbed.edge_url]) == 1
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.out.splitlines()] == ["0", "1", "2"]
    assert told.out.splitlines()[-1].startswith("2 frames (0 lost), ")
    assert "invalid_image: frame 2 (3.png): 4 bytes that are not an image" in told.err


def test_the_cloud_answers_with_the_plain_model(testbed, capsys, clip):
    assert main(["stream", str(clip), "--url", testbed.cloud_url, "--limit", "2"]) == 0
    assert [line.split()[3] for line in capsys.readouterr().out.splitlines()[:2]] == ["plain", "plain"]


def totals(testbed):
    links = counted_by_proxy(link_of(testbed)).values()
    return sum(link.frames for link in links), sum(link.channel_uses for link in links)


def test_a_stream_meets_the_channel_once_a_frame_under_its_own_ids(testbed, shipped, clip):
    fronts = Fronts.load(shipped.path(FRONT), shipped.digest)
    unmerged = choose_for(shipped, None, "none", Budget(), NOMINAL)
    within = choose_for(shipped, fronts, "auto", Budget(channel_uses=11), NOMINAL)
    before = totals(testbed)
    found = watch(testbed.edge_url, pictures_of([clip]), 7, [unmerged, unmerged, within], "a clip")
    after = totals(testbed)
    assert [one.answer.id for one in found] == [frame_id_of("a clip", number) for number in range(9)]
    assert [one.answer.policy.id for one in found] == ["none"] * 2 + [within.id] * 7
    assert {len(one.answer.outputs) for one in found} == {7}
    uses = sum(one.answer.link.channel_uses for one in found)
    assert (after[0] - before[0], after[1] - before[1]) == (9, uses)
