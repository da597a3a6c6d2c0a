"""Commands on bundles and stores that are not as they should be: one line of error, status 1, and nothing else."""

import json
import shutil
import sqlite3
import threading
from contextlib import closing

import pytest

from deploy.cli.main import main
from policies.policy import Policy
from policies.store import Store, database
from policies.store.schema import SCHEMA_VERSION
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
