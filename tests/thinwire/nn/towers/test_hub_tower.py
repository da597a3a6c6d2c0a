"""transformers' image models: unmerged they are the library's own function, head included."""

import pytest
import torch

from offline.bundles.own_output import perturbed
from tests.thinwire.nn.towers.test_timm_tower import split
from thinwire.errors import BundleError
from thinwire.nn.head import classify_images
from thinwire.nn.towers.hub_model import ARCHITECTURES, HubModel
from thinwire.nn.towers.hub_tower import HubTower
from thinwire.nn.towers.models import classifier_of, tower_of
from thinwire.nn.towers.registry import build_tower

SIZES = {"patch_size": 4, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def spec_of(architecture):
    """Of 36 patches and two layers."""
    config = SIZES | ({"num_patches": 36} if "Siglip2" in architecture else {"image_size": 24})
    if not architecture.startswith("Dinov2"):
        config["intermediate_size"] = 48
    if "Registers" in architecture or "DINOv3" in architecture:
        config["num_register_tokens"] = 3
    return {"tower": "transformers", "architecture": architecture, "config": config, "classes": 5}


def make(architecture):
    """With weights away from where training begins."""
    torch.manual_seed(0)
    return perturbed(build_tower(spec_of(architecture)).module.eval())


@torch.inference_mode()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_unmerged_it_is_the_librarys_own_function(architecture):
    model, x = make(architecture), torch.randn(2, 3, 24, 24)
    own, tower = model(x), classifier_of(model)
    torch.testing.assert_close(split(model, x, 1.0, 2)[0], own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classify_images(tower, x), own, rtol=1e-4, atol=1e-4)
    logits, _, counts = split(model, x, 0.3, 2)
    assert (counts[:, -1] < 36).all()
    assert logits.isfinite().all()


@pytest.mark.parametrize("architecture", ["ViTForImageClassification", "DINOv3ViTModel"])
def test_a_model_in_memory_is_taken_as_it_is(architecture):
    inner = make(architecture).model
    tower = tower_of(inner)
    assert isinstance(tower, HubTower)
    assert tower.module.model is inner
    assert not tower.module.training


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"architecture": "BertModel"}, "architecture: expected one of ViTForImageClassification, .*, got 'BertModel'"),
        ({"config": {"color": 1}}, "config: ViTConfig has no color"),
        ({"classes": 0}, "classes: expected a whole number above 0, got 0"),
        ({"config": {"image_size": 25, "patch_size": 4}}, "config.image_size: expected a square of whole patches of 4"),
        ({"config": {"num_channels": 1}}, "config.num_channels: expected the 3 of RGB, got 1"),
        ({"more": 1}, "needs architecture, config and classes"),
    ],
)
def test_what_describes_none_is_told(change, told):
    with pytest.raises(BundleError, match=told):
        build_tower(spec_of("ViTForImageClassification") | change)


def test_patches_of_siglip_2_are_laid_out_as_its_processor_does():
    model = HubModel.around(make("Siglip2VisionModel").model)
    pixels = torch.arange(3 * 24 * 24.0).reshape(1, 3, 24, 24)
    first, last = model.patches(pixels)[0, [0, 35]]
    assert torch.equal(first, pixels[0, :, :4, :4].permute(1, 2, 0).flatten())
    assert torch.equal(last, pixels[0, :, 20:, 20:].permute(1, 2, 0).flatten())
