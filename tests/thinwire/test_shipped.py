"""The bundles that come with the package."""

import pytest

from thinwire.bundle import FRONT, MANIFEST, load_bundle, shipped


@pytest.mark.parametrize("name", [path.parent.name for path in sorted(shipped().glob(f"*/{MANIFEST}"))])
def test_what_is_shipped_is_whole(name):
    bundle = load_bundle(name)
    assert bundle.name == name
    assert not any(path.suffix in {".pt", ".pth", ".pkl", ".bin"} for path in bundle.folder.rglob("*"))
    found = {path.relative_to(bundle.folder).as_posix() for path in bundle.folder.rglob("*") if path.is_file()}
    assert found - {FRONT} == {MANIFEST, *bundle.files, *bundle.exports}
