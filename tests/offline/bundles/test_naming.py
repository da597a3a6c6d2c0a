"""What a model is named by, and what is refused before anything is built."""

import json

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from transformers import Dinov2Config, Dinov2ForImageClassification, Dinov2Model

from offline.bundles.named_weights import load_weights
from offline.bundles.naming import is_tower, name_model
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.weights import build_classifier

NAME = "test_vit"


def write_timm(folder, **kwargs):
    """A folder as timm saves one for the hub."""
    torch.manual_seed(0)
    model = timm.create_model(NAME, **kwargs).eval()
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    content = {"architecture": NAME, "num_classes": model.num_classes, "pretrained_cfg": model.pretrained_cfg}
    (folder / "config.json").write_text(json.dumps(content, default=list))
    return model


def write_dinov2(folder, kind=Dinov2ForImageClassification, **changes):
    """A folder as transformers saves one, pictures of 64 pixels."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 3, "patch_size": 16}
    config = Dinov2Config(image_size=64, num_labels=5, **sizes | changes)
    model = kind(config).eval()
    model.save_pretrained(folder)
    half = [0.5, 0.5, 0.5]
    processor = {
        "image_processor_type": "BitImageProcessor",
        "do_resize": True,
        "do_center_crop": True,
        "do_rescale": True,
        "do_normalize": True,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": 96},
        "crop_size": {"height": 96, "width": 96},
        "resample": 3,
        "image_mean": half,
        "image_std": half,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return model


@torch.inference_mode()
def test_a_folder_of_timms_comes_with_its_weights_and_labels(tmp_path):
    model = write_timm(tmp_path / "vit", num_classes=7)
    named = name_model(str(tmp_path / "vit"))
    assert (named.name, named.labels[0], len(named.labels), named.has_head) == ("vit", "class 0", 7, True)
    loaded = build_classifier(named.spec).eval()
    load_weights(named, loaded)
    x = torch.randn(1, 3, 160, 160)
    assert torch.equal(loaded(x), model(x))


def test_positions_are_resampled_to_another_size(tmp_path):
    write_timm(tmp_path)
    named = name_model(str(tmp_path), size=96)
    assert named.preprocessing.size == 96
    loaded = build_classifier(named.spec)
    load_weights(named, loaded)
    assert loaded.pos_embed.shape[1] == 37


def test_a_file_is_named_by_what_lies_beside_it_or_by_an_architecture(tmp_path):
    write_timm(tmp_path)
    file = tmp_path / "model.safetensors"
    assert name_model(str(file)).spec["timm"] == NAME
    (tmp_path / "config.json").unlink()
    assert name_model(str(file), architecture=NAME).spec["timm"] == NAME
    with pytest.raises(InvalidRequestError, match="expected a timm name as architecture"):
        name_model(str(file))


@torch.inference_mode()
def test_a_folder_of_transformers_takes_its_pictures_in_their_own_size(tmp_path):
    model = write_dinov2(tmp_path)
    named = name_model(str(tmp_path))
    assert named.preprocessing.size == 96
    assert named.spec["config"]["image_size"] == 96
    loaded = build_classifier(named.spec).eval()
    load_weights(named, loaded)
    x = torch.randn(2, 3, 96, 96)
    torch.testing.assert_close(loaded(x), model(x).logits, rtol=1e-4, atol=1e-4)


def test_a_checkpoint_without_a_head_needs_labels(tmp_path):
    write_dinov2(tmp_path, Dinov2Model)
    with pytest.raises(InvalidRequestError, match=r"labels: expected a number of them, since .* has no head"):
        name_model(str(tmp_path))
    named = name_model(str(tmp_path), labels=3)
    assert not named.has_head
    load_weights(named, build_classifier(named.spec))


@pytest.mark.parametrize("write", [write_timm, write_dinov2])
def test_labels_that_do_not_fit_the_head_are_told(tmp_path, write):
    write(tmp_path)
    with pytest.raises(InvalidRequestError, match=r"labels: expected the \d+ classes of the head of .*, got 3"):
        name_model(str(tmp_path), labels=3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"num_classes": 5}, "num_classes: expected the 3 classes of the head of vit in its config.json, got 5"),
        ({"label_names": ["a", "b"]}, "label_names: expected the 3 classes of the head of vit .*, got 2"),
        ({"pretrained_cfg": {"label_names": list("abcd")}}, "label_names: expected the 3 classes .*, got 4"),
    ],
)
def test_a_configuration_of_another_head_is_told(tmp_path, changes, told):
    write_timm(tmp_path / "vit", num_classes=3)
    path = tmp_path / "vit" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(InvalidRequestError, match=told):
        name_model(str(tmp_path / "vit"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda stored: stored.pop("blocks.0.attn.qkv.weight"), "got none of blocks.0.attn.qkv.weight"),
        (lambda stored: stored.update(more=torch.zeros(2)), "got more as well"),
        (lambda stored: stored.update({"norm.bias": torch.zeros(2)}), r"expected norm.bias of \(64,\), got \(2,\)"),
        (lambda stored: stored["norm.bias"].fill_(torch.nan), "expected finite numbers in norm.bias, got infinite"),
    ],
)
def test_tensors_that_are_not_the_models_are_told(tmp_path, change, told):
    write_timm(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    change(stored)
    save_file(stored, tmp_path / "model.safetensors")
    named = name_model(str(tmp_path))
    with pytest.raises(BundleError, match=told):
        load_weights(named, build_classifier(named.spec))


@pytest.mark.parametrize("name", ["model.bin", "weights.pth", "model.ckpt"])
def test_a_pickle_is_never_read(tmp_path, name):
    assert is_tower(name)
    with pytest.raises(InvalidRequestError, match=r"a pickle, which may run code and is never read: .* save_file"):
        name_model(name)
    write_timm(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / name)
    with pytest.raises(InvalidRequestError, match=f"got {name}, a pickle"):
        name_model(str(tmp_path))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("vit_tiny_patch16_223", "expected a timm name, an id .* got 'vit_tiny_patch16_223' .timm has vit_tiny"),
        ("vit_tiny_patch16_224.tag", "expected a tag that timm has of vit_tiny_patch16_224 .augreg_.*, got 'tag'"),
        ("resnet18", "resnet18 cannot be split: expected a timm VisionTransformer .*, got ResNet"),
        ("vit_relpos_small_patch16_224", "cannot be split: .* got VisionTransformerRelPos"),
        ("missing.safetensors", "expected a file, got missing.safetensors, which is not there"),
    ],
)
def test_what_is_no_vision_transformer_is_told_in_one_line(name, told):
    with pytest.raises((BundleError, InvalidRequestError), match=told) as error:
        name_model(name, random=True)
    assert "\n" not in str(error.value)
