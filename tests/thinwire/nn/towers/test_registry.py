"""Towers by name: ours, an installed package's, and what is none."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.towers import CONFIG
from thinwire.errors import BundleError
from thinwire.nn.towers.encoder_tower import ClipTower, SiglipTower
from thinwire.nn.towers.interface import Tower
from thinwire.nn.towers.registry import OWN, build_tower
from thinwire.nn.towers.timm_tower import TimmTower

ROOT = Path(__file__).parents[4]
KWARGS = {"img_size": 20, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}
SPECS = {
    TimmTower: {"kwargs": KWARGS},
    ClipTower: {"tower": "clip", "config": CONFIG, "feature_layer": -2},
    SiglipTower: {"tower": "siglip", "config": CONFIG, "feature_layer": 2},
}
# Somebody's own tower, of one layer that does nothing: one class.
THEIRS = """
import torch
from thinwire.nn.attention import Attended
from thinwire.nn.towers.interface import LayerMacs

class Pixels:
    image_size, channels, width, patches, prefix_tokens, depth = 4, 3, 3, 16, 0, 1
    def __init__(self):
        self.module = torch.nn.Identity()
    @classmethod
    def from_spec(cls, spec):
        return cls()
    def embed(self, images):
        return images.flatten(2).transpose(1, 2)
    def attend(self, layer, x, bias):
        return Attended(x, x[:, None], x[:, None])
    def mlp(self, layer, x):
        return x
    def embedding_macs(self):
        return 0
    def layer_macs(self, layer):
        return LayerMacs(0, 0, 3, 3)

class Broken:
    @classmethod
    def from_spec(cls, spec):
        return 1 / 0

class Half:
    @classmethod
    def from_spec(cls, spec):
        return cls()
"""


@pytest.fixture(name="installed")
def installed_fixture(tmp_path, monkeypatch):
    """A package with entry points, as an installer leaves it."""
    (tmp_path / "their_towers.py").write_text(THEIRS)
    info = tmp_path / "their_towers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-towers\nVersion: 1.0\n")
    lines = [
        "pixels = their_towers:Pixels",
        "half = their_towers:Half",
        "broken = their_towers:Broken",
        "function = their_towers:torch",
    ]
    lines += ["gone = their_towers:Gone", "clip = their_towers:Pixels"]
    (info / "entry_points.txt").write_text("\n".join(["[thinwire.towers]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_towers", None)


@pytest.mark.parametrize("kind", SPECS)
@torch.inference_mode()
def test_our_towers_are_what_the_interface_says(kind):
    tower = build_tower(SPECS[kind])
    assert type(tower) is kind
    assert isinstance(tower, Tower)
    assert (tower.image_size, tower.channels, tower.width, tower.patches) == (20, 3, 24, 25)
    assert tower.depth == {TimmTower: 2, ClipTower: 3, SiglipTower: 2}[kind]
    x = tower.embed(torch.zeros(2, 3, 20, 20))
    assert x.shape == (2, tower.prefix_tokens + 25, 24)
    attended = tower.attend(tower.depth - 1, x, None)
    assert attended.output.shape == tower.mlp(tower.depth - 1, attended.output).shape == x.shape
    assert attended.keys.shape == attended.values.shape == (2, 3, x.shape[1], 8)
    with pytest.raises(IndexError):
        tower.attend(tower.depth, x, None)


def test_a_tower_of_another_package_is_one_class(installed):
    tower = build_tower({"tower": "pixels"})
    assert type(tower).__module__ == "their_towers"
    assert isinstance(tower, Tower)


def test_nobody_takes_the_place_of_ours(installed):
    assert type(build_tower(SPECS[ClipTower])) is ClipTower


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"tower": "nonsense"}, "no tower 'nonsense' is installed; there are .*clip, .*siglip, timm"),
        ({"tower": "os:system"}, "no tower 'os:system' is installed"),
        ({"tower": OWN["clip"]}, "is installed"),
        ({"tower": ["clip"]}, r"no tower \['clip'\] is installed"),
        ({"tower": None}, "no tower None is installed"),
        ({"tower": "gone"}, r"the tower 'gone' \(their_towers:Gone\) cannot be imported"),
        ({"tower": "function"}, "expected a class with from_spec as tower 'function'"),
        ({"tower": "half"}, r"the tower 'half' \(their_towers:Half\) is not all that a Tower is"),
        ({"timm": "nonsense"}, "no timm tower can be built"),
        ({"kwargs": {"nonsense": 1}}, "no timm tower can be built"),
        ({"kwargs": 1}, "no timm tower can be built: TypeError"),
        ({"tower": "broken"}, "no broken tower can be built: ZeroDivisionError: division by zero"),
    ],
)
def test_what_is_no_tower(installed, spec, message):
    with pytest.raises(BundleError, match=message):
        build_tower(spec)


def test_a_timm_model_of_another_kind():
    spec = {"timm": "vit_relpos_small_patch16_224", "kwargs": {"img_size": 32, "depth": 1}}
    with pytest.raises(BundleError, match=r"expected a timm VisionTransformer .*, got VisionTransformerRelPos"):
        build_tower(spec)


def test_transformers_is_imported_only_for_its_towers():
    program = (
        "import sys; from thinwire.nn.towers.registry import build_tower;"
        f"build_tower({SPECS[TimmTower]!r}); assert not any(n.startswith('transformers.models') for n in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, timeout=100)
