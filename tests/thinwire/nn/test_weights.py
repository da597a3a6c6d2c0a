"""Weights and the manifest that describes them: what does not fit is an error of the bundle."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from cloud.torch_classifier import TorchClassifier
from edge.torch_engine import TorchEngine
from offline.bundles.write import write_weights
from tests.parts import make_bundle, make_model
from tests.towers import make_vqa_bundle
from thinwire.bundle import file_sha256
from thinwire.errors import BundleError
from thinwire.nn.weights import load_backbone, load_tower

CHANGES = {
    "another width": lambda bundle: {"width": 32},
    "another depth": lambda bundle: {"depth": 4},
    "fewer labels": lambda bundle: {"labels": bundle.labels[:-1]},
    "a class token": lambda bundle: {"prefix_tokens": 1},
    "another size": lambda bundle: {"preprocessing": replace(bundle.preprocessing, size=24)},
    "another model": lambda bundle: {"model": {"kwargs": bundle.model["kwargs"] | {"embed_dim": 32, "num_heads": 4}}},
    "no model": lambda bundle: {"model": {"timm": "nonsense"}},
    "an argument that there is not": lambda bundle: {"model": {"kwargs": {"nonsense": 1}}},
    "a tower that cannot classify": lambda bundle: {"model": bundle.model | {"tower": "clip"}},
    "other blocks": lambda bundle: {"model": {"timm": "vit_small_patch16_18x2_224"}},
    "another codec": lambda bundle: {"codec": replace(bundle.codec, hidden=8)},
    "an impossible codec": lambda bundle: {"codec": replace(bundle.codec, hidden=-1)},
    "no files": lambda bundle: {"files": {}},
}


@pytest.mark.parametrize("load", [TorchEngine.load, TorchClassifier.load])
@pytest.mark.parametrize("name", CHANGES)
def test_a_manifest_that_the_weights_do_not_fit(tiny_bundle, load, name):
    with pytest.raises(BundleError) as raised:
        load(replace(tiny_bundle, **CHANGES[name](tiny_bundle)))
    assert "\n" not in str(raised.value)
    load(tiny_bundle)


@pytest.fixture(name="vqa_bundle")
def vqa_bundle_fixture(tmp_path):
    return make_vqa_bundle(folder=tmp_path)[0]


def config_with(**changes):
    return lambda bundle: {"model": bundle.model | {"config": bundle.model["config"] | changes}}


TOWER_CHANGES = {
    "another width": (lambda bundle: {"width": 32}, "width 32, its backbone 24"),
    "another depth": (lambda bundle: {"depth": 4}, "depth 4, its backbone 3"),
    "another split": (lambda bundle: {"split_layer": 2}, "split_layer 2, its backbone 3"),
    "more patches": (lambda bundle: {"patches": 26}, "patches 26, its backbone 25"),
    "two class tokens": (lambda bundle: {"prefix_tokens": 2}, "prefix_tokens 2, its backbone 1"),
    "another size": (
        lambda bundle: {"preprocessing": replace(bundle.preprocessing, size=24)},
        "preprocessing.size 24, its backbone 20",
    ),
    "another tower": (lambda bundle: {"model": bundle.model | {"tower": "nonsense"}}, "no tower 'nonsense'"),
    "a tower without a class token": (
        lambda bundle: {"model": bundle.model | {"tower": "siglip", "config": {}}},
        "does not describe its backbone",
    ),
    "another feature layer": (
        lambda bundle: {"model": bundle.model | {"feature_layer": -1}},
        "does not describe its backbone: .*Missing key.*encoder.layers.3",
    ),
    "no such feature layer": (lambda bundle: {"model": bundle.model | {"feature_layer": 9}}, "feature_layer from 1"),
    "an impossible field": (config_with(hidden_size=25), "not a multiple"),
    "a field that there is not": (config_with(nonsense=1), "config has no nonsense"),
    "wider": (config_with(hidden_size=48), "does not describe its backbone"),
    "no weights": (lambda bundle: {"files": {}}, "lists no backbone.safetensors"),
}


@pytest.mark.parametrize("name", TOWER_CHANGES)
def test_a_manifest_that_the_tower_does_not_fit(vqa_bundle, name):
    change, message = TOWER_CHANGES[name]
    with pytest.raises(BundleError, match=message) as raised:
        load_tower(replace(vqa_bundle, **change(vqa_bundle)))
    assert "\n" not in str(raised.value)
    assert str(raised.value).startswith("bundle tiny-vqa: ")


def test_weights_that_lack_a_tensor(vqa_bundle):
    path = vqa_bundle.path("backbone.safetensors")
    weights = load_file(path)
    del weights["encoder.layers.1.mlp.fc2.bias"]
    save_file(weights, path)
    with pytest.raises(BundleError, match=r"Missing key.*encoder\.layers\.1\.mlp\.fc2\.bias"):
        load_tower(replace(vqa_bundle, files=vqa_bundle.files | {path.name: file_sha256(path)}))


@pytest.mark.parametrize("prefix_tokens", [0, 1])
@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_tower_comes_back_with_its_weights(tmp_path, name, prefix_tokens):
    prefix_tokens = prefix_tokens if name == "clip" else 0
    bundle, tower = make_vqa_bundle(name, prefix_tokens, tmp_path)
    loaded = TorchEngine.load(bundle).tower
    x = torch.rand(2, 3, 20, 20)
    with torch.inference_mode():
        # Stored as float16.
        torch.testing.assert_close(loaded.embed(x), tower.embed(x), rtol=1e-2, atol=1e-2)
    assert next(loaded.module.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"global_pool": ""}, "model.global_pool: expected 'token', .* or 'token.avg', got ''"),
        ({"num_classes": 0}, "model.num_classes: expected a class at least, got 0"),
    ],
    ids=["no pool", "no class"],
)
def test_a_classifier_that_would_be_another_function_is_not_served(tmp_path, options, says):
    bundle = make_bundle(folder=tmp_path, **options)
    files = write_weights({"backbone": make_model(bundle)}, tmp_path)
    with pytest.raises(BundleError, match=says):
        load_backbone(replace(bundle, files=files))


def test_what_hears_has_a_tower_of_speech_and_what_sees_one_of_images(vqa_bundle):
    config = {"num_mel_bins": 8, "d_model": 24, "encoder_layers": 2, "encoder_attention_heads": 3}
    config |= {"encoder_ffn_dim": 40, "max_source_positions": 30}
    for bundle, what, found in (
        (replace(vqa_bundle, task="transcription"), "speech", "clip"),
        (replace(vqa_bundle, model={"tower": "whisper", "config": config}), "images", "whisper"),
    ):
        with pytest.raises(BundleError, match=f"bundle tiny-vqa: expected a tower of {what}, got '{found}'"):
            load_tower(bundle)
