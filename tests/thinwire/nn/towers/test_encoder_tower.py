"""What a manifest may say of a transformers tower, and what is refused."""

import pytest
import torch

from tests.towers import CONFIG, make_vision_model
from thinwire.errors import BundleError
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.encoder_tower import depth_of
from thinwire.nn.towers.registry import build_tower


def spec_of(name="clip", feature_layer=-2, **changes):
    return {"tower": name, "config": CONFIG | changes, "feature_layer": feature_layer}


@pytest.mark.parametrize(("feature_layer", "depth"), [(-1, 24), (-2, 23), (-24, 1), (24, 24), (1, 1), (23, 23)])
def test_the_layers_that_lead_to_a_hidden_state(feature_layer, depth):
    assert depth_of(feature_layer, 24) == depth


@pytest.mark.parametrize("feature_layer", [0, 25, -25, -26, 10**9])
def test_a_feature_layer_out_of_range(feature_layer):
    with pytest.raises(BundleError, match=f"from 1 to 24 or from -24 to -1, got {feature_layer}"):
        depth_of(feature_layer, 24)


@pytest.mark.parametrize("feature_layer", [None, "-2", -2.0, True, [-2, -5]])
def test_a_feature_layer_that_is_no_number(feature_layer):
    with pytest.raises(BundleError, match="expected one whole number as feature_layer"):
        build_tower(spec_of(feature_layer=feature_layer))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nonsense": 1}, "a clip tower's config has no nonsense"),
        # transformers would take it, and send attention elsewhere.
        ({"attn_implementation": "eager"}, "config has no attn_implementation"),
        ({"hidden_size": 25}, "no clip tower can be built: .*not a multiple"),
        ({"hidden_size": "24"}, "expected a whole number above 0 as hidden_size of a clip tower, got '24'"),
        ({"patch_size": 0}, "as patch_size of a clip tower, got 0"),
        ({"image_size": [20, 20]}, "as image_size"),
        ({"num_hidden_layers": True}, "as num_hidden_layers"),
        ({"hidden_act": "nonsense"}, "no clip tower can be built: KeyError"),
        ({"intermediate_size": -1}, "no clip tower can be built"),
        ({"layer_norm_eps": "small"}, "no clip tower can be built"),
    ],
)
def test_an_impossible_config(changes, message):
    with pytest.raises(BundleError, match=message):
        build_tower(spec_of(**changes))


@pytest.mark.parametrize(
    "spec",
    [
        {"tower": "clip"},
        {"tower": "clip", "config": [], "feature_layer": -2},
        {"tower": "clip", "config": CONFIG},
        spec_of() | {"surprise": 1},
    ],
)
def test_an_incomplete_specification(spec):
    with pytest.raises(BundleError, match="a clip tower needs tower, config and feature_layer"):
        build_tower(spec)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_only_what_runs_is_kept(name):
    whole = make_vision_model(name)
    names = set(build_tower(spec_of(name, 2)).module.state_dict())
    dropped = set(whole.state_dict()) - names
    assert names < set(whole.state_dict())
    assert {key.split(".")[0] for key in dropped} == {"encoder", "post_layernorm"} | (
        {"head"} & {key.split(".")[0] for key in dropped}
    )
    assert {key.split(".")[2] for key in dropped if key.startswith("encoder")} == {"2", "3"}


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_layer_costs_what_its_matrices_do(name):
    tower, whole = build_tower(spec_of(name)), make_vision_model(name)
    layer, token = whole.encoder.layers[0], torch.zeros(1, 1, 24)
    macs = tower.layer_macs(0)
    # The library's own attention, of which the hooks see the projections.
    assert macs.attention == count_macs(layer.self_attn, token)
    assert macs.mlp == count_macs(layer.mlp, token)
    assert (macs.attention_width, macs.head_dim) == (24, 8)
    assert tower.embedding_macs() == 25 * 48 * 24
