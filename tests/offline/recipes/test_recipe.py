"""Recipes, and a build that takes the backbone of another bundle."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import offline.bundles.build
from cloud.torch_classifier import TorchClassifier
from edge.onnx_engine import OnnxEngine
from edge.torch_engine import TorchEngine
from offline.bundles.write import lent
from offline.recipes.recipe import load_recipe, recipe_path
from offline.train.classifier import train_backbone
from policies.policy import Policy
from tests.parts import random_pixels
from thinwire.bundle import BACKBONE, load_bundle
from thinwire.errors import InvalidRequestError


def borrowing(folder: Path, **changes) -> str:
    """A recipe of tokens that leave the second of three layers; what is None is left out."""
    content = json.loads(recipe_path("cifar10-middle").read_text()) | {"name": "tiny-middle", "split_layer": 2}
    content["codec"] |= {"hidden": 16, "max_symbols_per_token": 4, "rates": [2, 4]}
    content["codec_training"] |= {"epochs": 1, "batch_size": 16}
    path = folder / "recipe.json"
    path.write_text(json.dumps({key: value for key, value in (content | changes).items() if value is not None}))
    return str(path)


def save_images(folder: Path, classes: str) -> str:
    for index, pixels in enumerate(random_pixels(60, seed=3)):
        name = classes[index % len(classes)]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return str(folder)


@pytest.fixture(autouse=True)
def _no_search(monkeypatch):
    monkeypatch.setattr(offline.bundles.build, "with_policies", lambda bundle, *_: bundle)


def test_a_backbone_is_taken_byte_for_byte(tiny_bundle, tmp_path):
    recipe = load_recipe(borrowing(tmp_path, backbone=str(tiny_bundle.folder)))
    assert (recipe.model, recipe.preprocessing) == (tiny_bundle.model, tiny_bundle.preprocessing)
    data = save_images(tmp_path / "data", "abcdefg")
    built = load_bundle(offline.bundles.build.build(recipe, data, tmp_path / "work", tmp_path / "bundle").folder)
    assert built.files["backbone.safetensors"] == tiny_bundle.files["backbone.safetensors"]
    assert (built.split_layer, built.depth, built.labels) == (2, 3, tiny_bundle.labels)
    assert not built.exports
    # The lender lies elsewhere, so that this is a copy.
    assert built.backbone is None
    assert built.path(BACKBONE).parent == tmp_path / "bundle"
    assert TorchEngine.load(built).tower.depth == len(TorchClassifier.load(built).model.blocks) == 3


def test_a_backbone_that_lies_beside_stays_there(tiny_bundle, tmp_path):
    lender = shutil.copytree(tiny_bundle.folder, tmp_path / "lender")
    output = tmp_path / "bundle"
    output.mkdir()
    # Of an earlier build that was cut off.
    (output / BACKBONE).write_bytes(b"old")
    recipe = load_recipe(borrowing(tmp_path, backbone=str(lender), export=True))
    data = save_images(tmp_path / "data", "abcdefg")
    built = load_bundle(offline.bundles.build.build(recipe, data, tmp_path / "work", output).folder)
    assert built.backbone == "lender"
    assert not (output / BACKBONE).exists()
    assert built.path(BACKBONE) == lender / BACKBONE
    # All engines read it there.
    pixels = random_pixels(1)
    policy = Policy.create([1.0, 1.0], 4)
    encoded = [kind.load(built).encode(pixels[0], policy, 10.0).symbols for kind in (TorchEngine, OnnxEngine)]
    np.testing.assert_allclose(*encoded, atol=1e-4)
    # One who borrows from a borrower takes from the lender.
    again = lent(replace(built, name="again", folder=tmp_path / "again", backbone=None, files={}, exports={}), built)
    assert again.backbone == "lender"
    # From elsewhere it would not be found.
    far = replace(again, folder=tmp_path / "far" / "again", backbone=None, files={})
    assert lent(far, built) is far


def test_weights_of_ones_own_are_taken_as_they_are(tiny_bundle, tmp_path):
    own = {
        "backbone": None,
        "weights": str(tiny_bundle.path("backbone.safetensors")),
        "model": tiny_bundle.model,
        "preprocessing": asdict(tiny_bundle.preprocessing),
    }
    recipe = load_recipe(borrowing(tmp_path, **own))
    data = save_images(tmp_path / "data", "hijklmn")
    built = load_bundle(offline.bundles.build.build(recipe, data, tmp_path / "work", tmp_path / "bundle").folder)
    assert built.files["backbone.safetensors"] == tiny_bundle.files["backbone.safetensors"]
    assert built.labels == tuple("hijklmn")


def test_each_training_begins_where_the_one_before_ended_and_the_head_is_fitted_last(
    tiny_bundle, tmp_path, monkeypatch
):
    content = json.loads(recipe_path("cifar10").read_text())
    training = content["backbone_training"] | {"epochs_dropped": 1, "epochs_whole": 0, "batch_size": 16}
    own = {
        "backbone": None,
        "weights": str(tiny_bundle.path("backbone.safetensors")),
        "model": tiny_bundle.model,
        "preprocessing": asdict(tiny_bundle.preprocessing),
        "backbone_training": training,
        "further_training": [training | {"layer_decay": 0.5, "smallest_crop": 0.5}],
        "head_images": 30,
    }
    seen = []

    def watched(*arguments, begin_with):
        model = train_backbone(*arguments, begin_with=begin_with)
        seen.append((begin_with, {name: value.clone() for name, value in model.state_dict().items()}))
        return model

    monkeypatch.setattr(offline.bundles.build, "train_backbone", watched)
    recipe, data = load_recipe(borrowing(tmp_path, **own)), save_images(tmp_path / "data", "hijklmn")
    built = offline.bundles.build.build(recipe, data, tmp_path / "work", tmp_path / "bundle")
    (_, first), (begun, second) = seen
    for name, value in first.items():
        assert torch.equal(begun[name], value)
    shipped = load_file(built.path(BACKBONE))
    changed = {name for name, value in second.items() if not torch.equal(shipped[name], value.half())}
    assert changed == {"head.weight", "head.bias"}


def test_data_of_other_classes_is_refused(tiny_bundle, tmp_path):
    recipe = load_recipe(borrowing(tmp_path, backbone=str(tiny_bundle.folder)))
    data = save_images(tmp_path / "data", "xyz")
    with pytest.raises(InvalidRequestError, match="classes"):
        offline.bundles.build.build(recipe, data, tmp_path / "work", tmp_path / "bundle")


@pytest.mark.parametrize("changes", [{"backbone": None}, {"backbone_training": {}}], ids=["neither", "both"])
def test_a_recipe_trains_its_backbone_or_borrows_one(tmp_path, changes):
    with pytest.raises(InvalidRequestError, match="must train a backbone, or name its weights or the bundle"):
        load_recipe(borrowing(tmp_path, **changes))


def test_a_bundle_that_is_not_there_lends_nothing(tmp_path):
    with pytest.raises(InvalidRequestError, match=r"no readable recipe .*no readable bundle nothing"):
        load_recipe(borrowing(tmp_path, backbone="nothing"))


def test_the_two_recipes_for_photos_differ_in_the_split():
    own = json.loads(recipe_path("photos").read_text())
    middle = json.loads(recipe_path("photos-middle").read_text())
    assert (middle["backbone"], middle["split_layer"], own["split_layer"]) == ("photos", 8, 12)
    assert (middle["codec"], middle["merging"]) == (own["codec"], own["merging"])
    assert load_recipe("photos").export
    assert "export" not in middle


def test_the_two_recipes_for_cifar10_differ_in_the_split_only():
    last, middle = load_recipe("cifar10"), load_recipe("cifar10-middle")
    assert (last.split_layer, middle.split_layer) == (6, 3)
    assert (last.model, last.preprocessing, last.merging, last.codec) == (
        middle.model, middle.preprocessing, middle.merging, middle.codec,
    )  # fmt: skip
