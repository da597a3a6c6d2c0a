"""Commands on bundles and stores that are not as they should be: one line of error, status 1, and nothing else."""

import errno
import json
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from deploy.cli.main import main
from policies.policy import Policy
from policies.store import Store, database
from policies.store.database import SCHEMA_VERSION
from thinwire.bundle import FRONT


@pytest.fixture(name="folder")
def folder_fixture(tiny_bundle, tmp_path):
    """A copy of the tiny bundle to spoil."""
    return shutil.copytree(tiny_bundle.folder, tmp_path / "bundle")


def refused(capsys, *arguments):
    """The one line that a command ends with."""
    assert main(list(arguments)) == 1
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("name", ["backbone.safetensors", "encoder.safetensors", "decoder.safetensors"])
def test_weights_that_were_altered_truncated_or_lost(capsys, folder, name):
    path = folder / name
    whole = path.read_bytes()
    for content in (whole[:-1] + bytes([whole[-1] ^ 1]), whole[:100], b"", None):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
        assert name in refused(capsys, "bundle", "verify", "--bundle", str(folder))
    path.write_bytes(whole)
    assert main(["bundle", "verify", "--bundle", str(folder)]) == 0


def test_a_search_over_no_layers_makes_no_store(capsys, folder, tmp_path):
    content = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(json.dumps(content | {"split_layer": 0}))
    given = ["--bundle", str(folder), "--store", f"sqlite:///{tmp_path / 'new.sqlite'}", "--data", str(tmp_path)]
    line = refused(capsys, "policies", "search", "mine", *given, "--strategy", "sobol")
    assert "split_layer: expected a layer or more in which tokens merge, got 0" in line
    assert not (tmp_path / "new.sqlite").exists()


@pytest.mark.parametrize("command", ["edge", "cloud"])
def test_a_server_does_not_start_on_an_altered_bundle(capsys, folder, command):
    path = folder / "bundle.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"width": content["width"] + 1}))
    assert "invalid_bundle" in refused(capsys, command, "serve", "--bundle", str(folder))


@pytest.mark.parametrize(
    ("command", "option", "field"),
    [
        *(("edge", "--link", "link_target"), ("edge", "--grpc", "grpc_address"), ("cloud", "--grpc", "grpc_address")),
        *(("channel", "--upstream", "upstream"), ("channel", "--listen", "listen")),
    ],
)
def test_a_server_does_not_start_on_what_is_no_address(capsys, tiny_bundle, command, option, field):
    bundle = () if command == "channel" else ("--bundle", str(tiny_bundle.folder))
    line = refused(capsys, command, "serve", *bundle, option, "::1:50051")
    assert line.startswith(f"thinwire: invalid_request: {field} must be HOST:PORT")
    assert line.endswith("got '::1:50051'; an IPv6 address stands in brackets")


def test_policies_of_another_bundle(capsys, folder):
    path = folder / FRONT
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"bundle": {"name": "other", "digest": "0" * 64}}))
    assert "bundle_mismatch" in refused(capsys, "policies", "list", "--bundle", str(folder))


def test_a_policy_that_was_altered(capsys, folder):
    path = folder / FRONT
    content = json.loads(path.read_text())
    content["fronts"][0]["policies"][0]["objectives"]["accuracy"] = 1.0
    path.write_text(json.dumps(content))
    assert "altered" in refused(capsys, "policies", "list", "--bundle", str(folder))


def export(folder, *more):
    return ["policies", "export", *more, "--store", f"sqlite:///{folder / 'store.sqlite'}"]


def test_a_store_of_a_newer_schema(capsys, folder):
    with closing(sqlite3.connect(folder / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE schema_version SET version = ?", (SCHEMA_VERSION + 1,))
    assert f"has schema {SCHEMA_VERSION + 1}" in refused(capsys, *export(folder, "tiny"))


def test_a_store_that_is_missing_and_a_study_that_is_unknown(capsys, folder):
    assert "no study 'nosuch'" in refused(capsys, *export(folder, "nosuch"))
    (folder / "store.sqlite").unlink()
    assert "store_unavailable" in refused(capsys, *export(folder, "tiny"))
    assert not (folder / "store.sqlite").exists()


def test_a_store_that_stays_locked_is_told(capsys, folder, monkeypatch):
    monkeypatch.setattr(database, "WAIT_FOR_LOCK_MS", 50)
    with closing(sqlite3.connect(folder / "store.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        assert "database is locked" in refused(capsys, *export(folder, "tiny", "--output", str(folder / "front.json")))
    assert main(export(folder, "tiny", "--output", str(folder / "front.json"))) == 0


def test_a_store_that_is_locked_for_a_while_is_waited_for(folder, tiny_bundle):
    with (
        Store(f"sqlite:///{folder / 'store.sqlite'}") as store,
        closing(sqlite3.connect(folder / "store.sqlite", check_same_thread=False)) as other,
    ):
        (study,) = store.studies()
        first = store.trials(study)[0]
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.5, other.rollback)
        release.start()
        again = type(first)(Policy.create([0.11, 0.12, 0.13], 4), first.bundle_digest, first.channel, first.objectives)
        assert store.add_trial(study, again)
        release.join()


OPTIONS = [
    (("--device", "nonsense"), "device must be cpu, cuda, cuda:1 or auto, got 'nonsense'"),
    (("--device", "cuda:999"), "there is no device 'cuda:999'"),
    (("--snr", "-9999"), "snr must be from -30 to 60, got -9999"),
    (("--snr-error", "99999"), "snr must be from -30 to 60"),
    (
        ("--thresholds", "0.5", "--symbols-per-token", "2"),
        "expected 3 thresholds, one per layer before the split, got 1",
    ),
    (("--symbols-per-token", "99"), "symbols_per_token is at most 8, got 99"),
    (("--policy", "p-nope"), "has a policy 'p-nope'"),
    (("--budget-channel-uses", "1", "--policy", "p-nope"), "has a policy 'p-nope'"),
]


@pytest.mark.parametrize(("options", "says"), OPTIONS, ids=[options[0] + options[1] for options, _ in OPTIONS])
def test_evaluate_refuses_what_cannot_be_before_it_reads_images(capsys, folder, monkeypatch, options, says):
    monkeypatch.setattr("offline.data.sources.load_images", lambda *_: pytest.fail("images were read"))
    assert says in refused(capsys, "evaluate", "--bundle", str(folder), "--data", "images.tar", *options)


DATA = ["nowhere", "bad.tar", "empty"]


@pytest.mark.parametrize("command", ["evaluate", "search", "baselines"])
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("bundle", ["tiny", "easy-vqa"])
def test_data_that_is_none(capsys, folder, tmp_path, command, data, bundle):
    (tmp_path / "bad.tar").write_text("no tar")
    (tmp_path / "empty").mkdir()
    name = str(folder) if bundle == "tiny" else bundle
    more = [] if command == "evaluate" else ["study", "--store", f"sqlite:///{tmp_path / 'new.sqlite'}"]
    start = ["evaluate"] if command == "evaluate" else ["policies", command]
    assert data in refused(capsys, *start, *more, "--bundle", name, "--data", str(tmp_path / data))


def test_a_data_set_of_the_hub_without_the_package_that_reads_it(capsys, folder, monkeypatch):
    monkeypatch.setattr("offline.data.images.find_spec", lambda name: None)
    line = refused(capsys, "evaluate", "--bundle", str(folder), "--data", "hfds/nobody/nothing")
    assert "hfds/nobody/nothing: this needs the package datasets (pip install datasets)" in line


@pytest.mark.parametrize("recipe", [("--recipe", "cifar10"), ("--recipe", "easy-vqa"), ()])
def test_a_revision_of_no_model(capsys, tmp_path, recipe):
    line = refused(capsys, "bundle", "build", *recipe, "--revision", "main", "--output", str(tmp_path / "out"))
    assert "--model is for one that answers" in line or "revision: expected a model that it is of" in line


def test_a_disk_that_fills_up_is_told_in_one_line(capsys, folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", "front.json")

    monkeypatch.setattr("policies.fronts.Fronts.save", full)
    line = refused(capsys, *export(folder, "tiny", "--output", str(folder / "front.json")))
    assert "no room left to write front.json" in line
