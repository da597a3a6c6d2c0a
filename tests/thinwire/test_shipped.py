"""The bundles that come with the package."""

import pytest

from thinwire.bundle import BACKBONE, FRONT, MANIFEST, NOTICE, file_sha256, load_bundle, read_bundle, shipped

# Whose weights others publish.
PARTLY = {"whisper-tiny-en": {BACKBONE, "whisper/model.safetensors"}}
MOST_BYTES = 8 * 2**20


@pytest.mark.parametrize(
    "name", [path.parent.name for path in sorted(shipped().glob(f"*/{MANIFEST}")) if path.parent.name not in PARTLY]
)
def test_what_is_shipped_is_whole(name):
    bundle = load_bundle(name)
    assert bundle.name == name
    assert not any(path.suffix in {".pt", ".pth", ".pkl", ".bin"} for path in bundle.folder.rglob("*"))
    found = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    lent = {BACKBONE} if bundle.backbone else set()
    assert found - {FRONT, NOTICE} == {MANIFEST, *bundle.files, *bundle.exports} - lent
    if lent:
        lender = load_bundle(bundle.backbone)
        assert bundle.files[BACKBONE] == lender.files[BACKBONE]
        assert (bundle.model, bundle.labels) == (lender.model, lender.labels)


@pytest.mark.parametrize("name", sorted(PARTLY))
def test_what_is_shipped_without_its_weights_is_whole_but_for_them(name):
    bundle = read_bundle(name)
    assert bundle.name == name
    listed = bundle.files | bundle.exports
    found = {path.relative_to(bundle.folder).as_posix(): path for path in bundle.folder.rglob("*") if path.is_file()}
    # A checkout may have them, too: the build writes them there.
    shipped_files = {one: path for one, path in found.items() if one not in PARTLY[name]}
    assert shipped_files.keys() - {FRONT} == {MANIFEST, NOTICE, *listed} - PARTLY[name]
    assert PARTLY[name] < listed.keys()
    for one in listed.keys() - PARTLY[name]:
        assert file_sha256(found[one]) == listed[one]
    assert sum(path.stat().st_size for path in shipped_files.values()) < MOST_BYTES
