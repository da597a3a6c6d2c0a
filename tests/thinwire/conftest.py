"""A bundle on disk, without a model that could run."""

import hashlib

import pytest

from thinwire.bundle import Bundle, Codec, Merging, Reference
from thinwire.images import Preprocessing

WEIGHTS = b"\x00weights\xff" * 100


def make_bundle(folder, **changes):
    values = {
        "name": "tiny",
        "task": "classify",
        "model": {"kwargs": {"embed_dim": 24, "depth": 3}, "stem": [[8, 1], [16, 1]]},
        "split_layer": 3,
        "depth": 3,
        "width": 24,
        "patches": 25,
        "prefix_tokens": 0,
        "labels": ("cat", "naïve", "犬"),
        "preprocessing": Preprocessing(20, 0.875, "bicubic", (0.5, 0.4, 0.3), (0.25, 0.2, 0.3)),
        "merging": Merging(),
        "codec": Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)),
        "files": {"weights.safetensors": hashlib.sha256(WEIGHTS).hexdigest()},
        "reference": Reference(4, 104, 0.75, 0.01, 2000, 10.0),
        "folder": folder,
    }
    return Bundle(**values | changes)


@pytest.fixture(name="saved")
def saved_fixture(tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    bundle = make_bundle(folder)
    bundle.save()
    return bundle
