"""``thinwire channel show|set`` on a running channel."""

import json

import pytest

from deploy.cli.main import main
from deploy.demo import photographs
from experiments.harness.processes import link_of
from thinwire.client import Client


def run(capsys, *arguments):
    assert main(["channel", *arguments]) == 0
    return capsys.readouterr().out


def test_what_is_set_holds_from_the_next_frame_on(capsys, testbed):
    address = ["--channel", link_of(testbed)]
    (before, *_) = json.loads(run(capsys, "show", *address, "--json"))
    assert (before["link"], before["model"], before["csi"]) == ("(default)", "awgn", "perfect")
    try:
        told = json.loads(run(capsys, "set", *address, "--snr", "3", "--model", "rayleigh", "--json"))
        assert told == {name: before[name] for name in told} | {"snr_db": 3.0, "model": "rayleigh"}
        with Client(testbed.edge_url) as client:
            assert client.classify(next(photographs(None))[1]).link.snr_db == 3.0
        shown = run(capsys, "show", *address).splitlines()
        assert shown[0].split()[:3] == ["link", "model", "snr_db"]
        assert any(line.split()[:2] == ["edge", "rayleigh"] for line in shown)
    finally:
        run(capsys, "set", *address, "--snr", str(before["snr_db"]), "--model", before["model"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing to change: name --model, --snr"),
        (["--model", "tin can"], "channel model must be one of"),
        (["--snr", "99"], "snr_db must be from -30 to 60, got 99"),
        (["--csi", "all"], "csi must be perfect, none"),
    ],
)
def test_what_cannot_be_set_is_told(capsys, testbed, arguments, told):
    assert main(["channel", "set", "--channel", link_of(testbed), *arguments]) == 1
    assert f"thinwire: invalid_request: {told}" in capsys.readouterr().err


def test_nobody_there_is_told(capsys):
    assert main(["channel", "show", "--channel", "127.0.0.1:9"]) == 1
    assert "thinwire: unavailable: " in capsys.readouterr().err
