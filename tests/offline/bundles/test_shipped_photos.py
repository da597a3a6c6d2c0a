"""The shipped bundle of photographs: what it answers, and whose weights it has."""

import json

import pytest

from deploy.cli.main import main
from thinwire.bundle import BACKBONE, NOTICE, load_bundle


def test_its_weights_are_stored_once_and_their_origin_is_told():
    bundle = load_bundle("photos")
    assert bundle.path(NOTICE).is_file()
    assert bundle.path(BACKBONE).stat().st_size < 46e6
    assert sum(path.stat().st_size for path in bundle.folder.iterdir() if path.name != BACKBONE) < 8e6


@pytest.mark.data
@pytest.mark.parametrize(("channel", "least"), [("none", 0.93), ("awgn", 0.92)])
def test_what_it_is_right_about(photos_test, capsys, channel, least):
    arguments = ["evaluate", "--bundle", "photos", "--data", photos_test, "--limit", "200", "--json"]
    assert main([*arguments, "--policy", "none", "--channel", channel]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == 200
    assert report["accuracy"] >= least
