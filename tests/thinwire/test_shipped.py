"""The bundles that come with the package."""

import pytest

from thinwire.bundle import BACKBONE, FRONT, MANIFEST, NOTICE, load_bundle, shipped


@pytest.mark.parametrize("name", [path.parent.name for path in sorted(shipped().glob(f"*/{MANIFEST}"))])
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
