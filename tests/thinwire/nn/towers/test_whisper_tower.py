"""The encoder of Whisper as a tower, against transformers' own."""

import pytest
import torch
from torch import nn

from tests.ctranslate2 import make_whisper
from thinwire.bundle import Merging
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.macs import count_macs
from thinwire.nn.merging.merge import merge
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import ImageTower, RotaryTower, SpeechTower, Tower
from thinwire.nn.towers.models import tower_of
from thinwire.nn.towers.registry import build_tower
from thinwire.nn.towers.whisper_tower import WhisperTower

CONFIG = {
    "num_mel_bins": 8,
    "d_model": 24,
    "encoder_layers": 3,
    "encoder_attention_heads": 3,
    "encoder_ffn_dim": 40,
    "max_source_positions": 30,
}


def features(batch: int = 2, frames: int = 60) -> torch.Tensor:
    return torch.randn(batch, 8, frames, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.fixture(name="model", scope="module")
def model_fixture():
    return make_whisper().double()


@torch.inference_mode()
def test_thresholds_of_one_reproduce_transformers(model):
    tower, x = tower_of(model), features()
    theirs = model.model.encoder(x, output_hidden_states=True)
    for depth in range(4):
        tokens, counts = run_layers(tower, embed(tower, x), rules_for([1.0] * depth), Merging(neighbours=3))
        if depth < 3:
            torch.testing.assert_close(tokens.x, theirs.hidden_states[depth], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(tokens.x, theirs.last_hidden_state, rtol=1e-10, atol=1e-10)
    assert (counts == 30).all()


@torch.inference_mode()
def test_a_short_clip_is_what_an_encoder_of_as_few_positions_makes_of_it(model):
    tower, x = WhisperTower.around(model), features(frames=22)
    tokens, _ = run_layers(tower, embed(tower, x), rules_for([1.0] * 3), Merging())
    short = make_whisper(max_source_positions=11).double()
    state = model.state_dict()
    state["model.encoder.embed_positions.weight"] = state["model.encoder.embed_positions.weight"][:11]
    short.load_state_dict(state)
    torch.testing.assert_close(tokens.x, short.model.encoder(x).last_hidden_state, rtol=1e-10, atol=1e-10)
    with pytest.raises(ValueError, match="mel input features to be of length 60"):
        model.model.encoder(x)


def test_it_is_the_tower_of_a_whisper_and_of_its_parts(model):
    for part in (model, model.model, model.model.encoder):
        tower = tower_of(part)
        assert isinstance(tower, WhisperTower)
        assert tower.module is model.model.encoder
    assert isinstance(tower, Tower)
    assert isinstance(tower, SpeechTower)
    assert not isinstance(tower, ImageTower)
    assert not isinstance(tower, RotaryTower)
    assert (tower.width, tower.patches, tower.prefix_tokens, tower.depth, tower.mel_bins) == (24, 30, 0, 3, 8)


def test_a_manifest_describes_it(model):
    tower = build_tower({"tower": "whisper", "config": CONFIG})
    assert isinstance(tower, WhisperTower)
    assert not tower.module.training
    tower.module.load_state_dict(model.model.encoder.state_dict())
    with torch.inference_mode():
        same = tower.embed(features().float())
    torch.testing.assert_close(same, WhisperTower.around(model).embed(features()).float())


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"tower": "whisper"}, "a whisper tower needs tower and config, got tower"),
        ({"tower": "whisper", "config": [1]}, "needs tower and config"),
        ({"tower": "whisper", "config": CONFIG, "more": 1}, "needs tower and config, got tower, config, more"),
        ({"tower": "whisper", "config": CONFIG | {"vocab_size": 4}}, "config has no vocab_size"),
        ({"tower": "whisper", "config": CONFIG | {"d_model": "24"}}, "as d_model of a whisper tower, got '24'"),
        ({"tower": "whisper", "config": CONFIG | {"encoder_layers": 0}}, "as encoder_layers of a whisper tower, got 0"),
        ({"tower": "whisper", "config": CONFIG | {"d_model": 25}}, "no whisper tower can be built: ValueError"),
        ({"tower": "whisper", "config": CONFIG | {"activation_function": "x"}}, "no whisper tower can be built"),
    ],
)
def test_what_describes_none(spec, message):
    with pytest.raises(BundleError, match=message):
        build_tower(spec)


@pytest.mark.parametrize("shape", [(1, 8, 59), (1, 8, 62), (1, 8, 0), (1, 9, 60), (8, 60)])
def test_features_of_another_shape(model, shape):
    with pytest.raises(InvalidRequestError, match="expected features of batch x 8 x an even number of frames up to 60"):
        WhisperTower.around(model).embed(torch.zeros(shape, dtype=torch.float64))


def test_a_layer_costs_what_its_matrices_do(model):
    tower = WhisperTower.around(model)
    layer, token = model.model.encoder.layers[0], torch.zeros(1, 1, 24, dtype=torch.float64)
    macs = tower.layer_macs(0)
    # The library's own modules, of which the hooks see the projections.
    assert macs.attention == count_macs(layer.self_attn, token)
    assert macs.mlp == count_macs(nn.Sequential(layer.fc1, layer.fc2), token)
    assert (macs.attention_width, macs.head_dim) == (24, 8)
    assert tower.embedding_macs() == 60 * 24 * 8 * 3 + 30 * 24 * 24 * 3
    assert tower.embedding_macs(11) == 22 * 24 * 8 * 3 + 11 * 24 * 24 * 3


def test_merge_takes_a_whisper(model):
    merged = merge(model, features(), 0.5, Merging(weight="size", proportional_attention=True, neighbours=3))
    assert merged.counts.shape == (2, 4)
    assert (merged.counts[:, -1] < 30).all()
    assert merge(model, features(frames=20), 1.0).counts.tolist() == [[10] * 4] * 2
    with pytest.raises(InvalidRequestError, match=r"features of batch x bins x frames, got torch\.float32"):
        merge(model, features().float(), 0.5)
    with pytest.raises(InvalidRequestError, match="features of batch x bins x frames"):
        merge(model, features()[0], 0.5)
