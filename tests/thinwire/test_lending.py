"""A backbone that another bundle lends: found beside or among the shipped ones, checked, and never by a path."""

import hashlib
import json
from dataclasses import replace

import pytest

from deploy.cli.main import main
from tests.thinwire.conftest import make_bundle
from thinwire.bundle import BACKBONE, MANIFEST, load_bundle, manifest
from thinwire.errors import BundleError

CONTENT = b"\x00backbone\xff" * 100
FILES = {BACKBONE: hashlib.sha256(CONTENT).hexdigest()}


def write(folder, content=CONTENT, **changes):
    """A bundle in a folder of its name, with a backbone unless that is lent."""
    folder.mkdir(parents=True)
    if "backbone" not in changes:
        (folder / BACKBONE).write_bytes(content)
    bundle = make_bundle(folder, **{"name": folder.name, "files": FILES} | changes)
    bundle.save()
    return bundle


@pytest.fixture(name="shipped")
def shipped_fixture(tmp_path, monkeypatch):
    folder = tmp_path / "shipped"
    monkeypatch.setattr(manifest, "shipped", lambda: folder)
    return folder


@pytest.fixture(name="borrower")
def borrower_fixture(tmp_path, shipped):
    return write(tmp_path / "mine" / "borrower", backbone="lender")


def test_a_bundle_beside_lends(borrower, shipped):
    lender = write(borrower.folder.parent / "lender")
    write(shipped / "lender", b"another")
    loaded = load_bundle(borrower.folder)
    assert loaded == borrower
    assert loaded.verified(BACKBONE) == lender.path(BACKBONE)
    assert loaded.path(MANIFEST).parent == borrower.folder


def test_a_bundle_beside_lends_wherever_the_folder_is_named_from(borrower, monkeypatch):
    lender = write(borrower.folder.parent / "lender")
    monkeypatch.chdir(borrower.folder)
    assert load_bundle(".").verified(BACKBONE).samefile(lender.path(BACKBONE))


def test_a_shipped_bundle_lends_where_none_lies_beside(borrower, shipped):
    lender = write(shipped / "lender")
    # Of a build's work, say: no bundle.
    (borrower.folder.parent / "lender").mkdir()
    assert load_bundle(borrower.folder).verified(BACKBONE) == lender.path(BACKBONE)


def test_a_folder_that_is_called_as_its_lender_is_does_not_lend_to_itself(borrower, shipped):
    lender = write(shipped / "lender")
    renamed = borrower.folder.rename(borrower.folder.parent / "lender")
    assert load_bundle(renamed).verified(BACKBONE) == lender.path(BACKBONE)


def refused(capsys, folder):
    """The one line of `thinwire bundle verify`, which is that of whatever loads the bundle."""
    with pytest.raises(BundleError) as raised:
        load_bundle(folder)
    assert main(["bundle", "verify", "--bundle", str(folder)]) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert str(raised.value) in line
    return line


def test_what_cannot_be_lent_is_one_line(borrower, shipped, capsys):
    def says():
        return refused(capsys, borrower.folder)

    assert "borrower: backbone.safetensors is lent by lender, which is neither beside" in says()
    lender = write(borrower.folder.parent / "lender", b"another")
    assert f"but {lender.path(BACKBONE)} is another: its SHA-256 is not the manifest's" in says()
    lender.path(BACKBONE).unlink()
    assert "neither beside" in says()
    whole = shipped / "whole"
    whole.parent.mkdir()
    whole.write_bytes(CONTENT)
    lender.path(BACKBONE).symlink_to(whole)
    assert f"{lender.path(BACKBONE)} is a link" in says()
    # A lender has the file itself.
    lender.path(BACKBONE).unlink()
    replace(lender, backbone="third").save()
    write(borrower.folder.parent / "third")
    assert "neither beside" in says()
    moved = lender.folder.rename(shipped / "moved")
    (moved / BACKBONE).write_bytes(CONTENT)
    lender.folder.symlink_to(moved)
    assert "is a link" in says()
    replace(borrower, files={}).save()
    assert "but not listed under files" in says()


@pytest.mark.parametrize("name", ["..", ".", "", "../lender", "a/b", "a\\b", "C:lender", "/lender", 3, ["lender"]])
def test_a_lender_is_named_and_is_no_path(borrower, capsys, name):
    write(borrower.folder.parent / "lender")
    content = json.loads(borrower.path(MANIFEST).read_text())
    borrower.path(MANIFEST).write_text(json.dumps(content | {"backbone": name}))
    assert "backbone must be" in refused(capsys, borrower.folder)


def test_info_says_whose_it_is(borrower, capsys):
    write(borrower.folder.parent / "lender")
    assert main(["bundle", "info", "--bundle", str(borrower.folder)]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if BACKBONE in line)
    assert f"{len(CONTENT)} bytes" in line
    assert line.endswith("of bundle lender")
