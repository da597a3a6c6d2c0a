"""``thinwire policies plot`` on a small store."""

import re

import pytest

from deploy.cli.main import main
from policies.policy import MeasuredPolicy, Objectives, Policy
from policies.store import Store
from policies.study import Baseline, Study
from thinwire.channels import Channel

CHANNEL = Channel("awgn", 10.0)


def objectives(number):
    return Objectives(0.5 + number / 20, 0.01, 100, 1.0, 50.0 * (1 + number), 500, 10.0, 1.0, 0.0, 0.0, 0.01)


@pytest.fixture(name="url")
def url_fixture(tmp_path):
    """A store with a study of four trials and a baseline, and one that has nothing yet."""
    url = f"sqlite:///{tmp_path / 'store' / 'policies.sqlite'}"
    identity = {"bundle_name": "tiny", "bundle_digest": "b" * 64, "channel": CHANNEL, "split": "select"}
    with Store(url) as store:
        for name in ("found", "begun"):
            study = store.study(Study(name, **identity, data_digest="d" * 64, seed=7, versions={"thinwire": "0.1.0"}))
            for number in range(4 if name == "found" else 0):
                policy = Policy.create((number / 10, 0.5), 8)
                store.add_trial(study, MeasuredPolicy(policy, "b" * 64, CHANNEL, objectives(number)))
        store.add_baseline(store.get_study("found"), Baseline("unmerged", {"symbols_per_token": 8}, objectives(5)))
    return url


def test_a_study_is_drawn_from_the_store(capsys, url, tmp_path):
    page, picture = tmp_path / "front.html", tmp_path / "front.png"
    for path in (page, picture):
        assert main(["policies", "plot", "found", "--store", url, "--output", str(path)]) == 0
        assert f"found in {path}" in capsys.readouterr().out
    with Store(url) as store:
        ids = {measured.policy.id for measured in store.trials(store.studies()[0])}
    drawing = page.read_text()
    assert ids == set(re.findall(r"p-[0-9a-f]{10}\b", drawing[drawing.rindex("Plotly.newPlot(") :]))
    assert "scatter3d" in drawing[drawing.rindex("Plotly.newPlot(") :]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_objectives_are_chosen_by_name(url, tmp_path):
    path = tmp_path / "front.html"
    arguments = ["policies", "plot", "found", "--store", url, "--output", str(path)]
    assert main([*arguments, "--objectives", "tokens,accuracy"]) == 0
    drawing = path.read_text().rpartition("Plotly.newPlot(")[2]
    assert "tokens per image" in drawing
    assert "channel uses per image" not in drawing


@pytest.mark.parametrize(
    ("study", "name", "objectives", "message"),
    [
        ("other", "a.png", "channel_uses,accuracy", "no study 'other' in the store: it has found, begun"),
        ("begun", "a.png", "channel_uses,accuracy", "study begun has no trials"),
        ("found", "a.png", "channel_uses,flops", "two or three different objectives"),
        ("found", "a.png", "accuracy", "two or three different objectives"),
        ("found", "a.png", "latency_ms,accuracy", "latency_ms was not measured for 4 of the 4 trials"),
        ("found", "a.svg", "channel_uses,accuracy", "ends in .png or .html"),
        ("found", "none/a.png", "channel_uses,accuracy", "cannot write the drawing"),
    ],
)
def test_what_cannot_be_drawn_is_told(capsys, url, tmp_path, study, name, objectives, message):
    arguments = ["--store", url, "--output", str(tmp_path / "out" / name), "--objectives", objectives]
    (tmp_path / "out").mkdir()
    assert main(["policies", "plot", study, *arguments]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "invalid_request" in told
    assert not list((tmp_path / "out").iterdir())


def test_a_store_that_is_not_there_is_told_and_not_made(capsys, tmp_path):
    url = f"sqlite:///{tmp_path / 'none.sqlite'}"
    assert main(["policies", "plot", "a", "--store", url, "--output", str(tmp_path / "a.png")]) == 1
    assert "there is none" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
