"""Encoders by name: ours, an installed package's, and what is none."""

import sys
from dataclasses import replace

import pytest
import torch

from edge.torch_engine import TorchEngine
from offline.bundles.write import write_weights
from tests.parts import make_engine
from thinwire.bundle import Codec, load_bundle
from thinwire.errors import BundleError
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.encoders import OWN, LevelEncoder, MlpEncoder, build_encoder

CODEC = Codec(hidden=32, max_symbols_per_token=8, rates=(1, 8), snr_db=(-5.0, 20.0))
# Somebody's own encoder: one class.
THEIRS = """
import torch
from thinwire.nn.codec.encoder import JsccEncoder

class Linear(JsccEncoder):
    def __init__(self, width, hidden, max_symbols_per_token):
        super().__init__(width, hidden, max_symbols_per_token)
        self.layer = torch.nn.Linear(width, 2 * max_symbols_per_token)
    def symbols(self, x, sizes, valid, snr_db, symbols_per_token):
        return self.layer(x)

class Other:
    pass
"""


@pytest.fixture(name="installed")
def installed_fixture(tmp_path, monkeypatch):
    """A package with entry points, as an installer leaves it."""
    (tmp_path / "their_encoders.py").write_text(THEIRS)
    info = tmp_path / "their_encoders-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-encoders\nVersion: 1.0\n")
    names = {"linear": "Linear", "mlp": "Linear", "other": "Other", "function": "torch", "gone": "Gone"}
    lines = [f"{name} = their_encoders:{kind}" for name, kind in names.items()]
    (info / "entry_points.txt").write_text("\n".join(["[thinwire.encoders]", *lines, ""]))
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("their_encoders", None)


@pytest.mark.parametrize("name", OWN)
def test_ours_are_found_by_name(name):
    assert type(build_encoder(replace(CODEC, encoder=name), 24)) is OWN[name]


@pytest.mark.usefixtures("installed")
def test_an_installed_one_is_a_class_and_a_name_and_ours_keep_theirs(tmp_path):
    engine = make_engine()
    codec = replace(engine.bundle.codec, encoder="linear")
    encoder = build_encoder(codec, engine.bundle.width)
    assert isinstance(encoder, JsccEncoder)
    assert encoder.macs_per_token() == 24 * 2 * 8
    files = write_weights({"backbone": engine.tower.module, "encoder": encoder}, tmp_path)
    replace(engine.bundle, codec=codec, files=files, folder=tmp_path).save()
    loaded = TorchEngine.load(load_bundle(tmp_path))
    assert torch.equal(loaded.encoder.layer.weight, encoder.layer.weight.half().float())
    assert type(build_encoder(CODEC, 24)) is OWN["mlp"]


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("nobody's", 'no encoder "nobody\'s" is installed; there are attention, .*level, .*linear, mlp'),
        ("gone", "cannot be imported"),
        ("other", "expected a class of JsccEncoder"),
        ("function", "expected a class of JsccEncoder"),
    ],
)
def test_what_is_none_is_refused(name, says):
    with pytest.raises(BundleError, match=says):
        build_encoder(replace(CODEC, encoder=name), 24)


def test_a_level_encoder_gives_a_large_token_no_more_power():
    torch.manual_seed(0)
    level = LevelEncoder(24, 32, 4).eval()
    by_size = MlpEncoder(24, 32, 4).eval()
    by_size.load_state_dict(level.state_dict())
    x, valid = torch.randn(1, 1, 24).expand(1, 6, 24), torch.ones(1, 6, dtype=torch.bool)
    sizes = torch.tensor([[1.0, 1, 1, 1, 1, 400]])
    snr, rate = torch.tensor([10.0]), torch.tensor([4])
    with torch.inference_mode():
        # Of what a token says, the size is a part.
        for encoder in (level, by_size):
            encoder.first.weight[:, -1] = 0
        power = level(x, sizes, valid, snr, rate)[0].abs().square().mean(-1)
        other = by_size(x, sizes, valid, snr, rate)[0].abs().square().mean(-1)
    torch.testing.assert_close(power, torch.ones(6))
    torch.testing.assert_close(other / other[0], sizes[0])
