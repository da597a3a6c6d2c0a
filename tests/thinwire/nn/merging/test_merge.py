"""Merging as one call, on models in memory."""

import numpy as np
import pytest
import timm
import torch
from transformers import BertConfig, BertModel

from tests.llava import make_byte_tokenizer, make_llava
from tests.parts import SIZE
from tests.thinwire.nn.merging.slow_merging import run_one, timm_parts
from tests.towers import make_vision_model
from thinwire.bundle import Merging
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.merge import merge
from thinwire.nn.towers.models import tower_of
from thinwire.nn.towers.timm_tower import TimmTower


def images(size=SIZE, batch=2):
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(1))


def test_nothing_merges_at_one(make_vit):
    model = make_vit().float()
    merged = merge(model, images(), 1.0)
    assert merged.counts.tolist() == [[25] * (len(model.blocks) + 1)] * 2
    with torch.inference_mode():
        expected = model.forward_intermediates(images(), norm=False, intermediates_only=True, output_fmt="NLC")[-1]
    torch.testing.assert_close(merged.tokens.x, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("merging", [Merging(), Merging(metric="key", weight="size", proportional_attention=True)])
def test_it_merges_as_a_slow_loop_does(make_vit, merging):
    model = make_vit()
    x = images(batch=1).double()
    merged = merge(model, x, [0.5, 1.0, 0.3], merging)
    _, slow = run_one(timm_parts(model), x[0], [0.5, 1.0, 0.3], merging)
    assert merged.counts[0, -1] == len(slow) < 25
    assert merged.tokens.sizes[0].tolist() == [token.size for token in slow]
    np.testing.assert_allclose(merged.tokens.x[0].numpy(), np.stack([token.x for token in slow]), atol=1e-9)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_a_model_of_transformers_runs_with_its_own_weights(name):
    model = make_vision_model(name)
    merged = merge(model, images(), 1.0)
    with torch.inference_mode():
        hidden = model(images(), output_hidden_states=True).hidden_states[-1]
    prefix = merged.tokens.prefix.shape[1]
    torch.testing.assert_close(merged.tokens.x, hidden[:, prefix:], rtol=1e-4, atol=1e-4)
    assert merge(model, images(), 0.5).counts[:, -1].max() < 25
    assert tower_of(model).module is model


def test_a_llava_is_run_to_the_layer_that_it_reads():
    llava = make_llava(make_byte_tokenizer()).eval()
    tower = tower_of(llava)
    vision = llava.model.vision_tower
    assert tower.module is vision
    x = images(tower.image_size)
    merged = merge(llava, x, 1.0)
    with torch.inference_mode():
        hidden = vision(x, output_hidden_states=True).hidden_states[llava.config.vision_feature_layer]
    torch.testing.assert_close(merged.tokens.x, hidden[:, merged.tokens.prefix.shape[1] :], rtol=1e-4, atol=1e-4)


def test_a_tower_is_taken_as_it_is(make_vit):
    tower = TimmTower(make_vit().float())
    assert tower_of(tower) is tower
    assert merge(tower, images(), 1.0).counts.shape == (2, 4)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: torch.nn.Linear(2, 2), "got torch.nn.modules.linear.Linear"),
        (lambda: timm.create_model("resnet18"), "got timm.models.resnet.ResNet"),
        (lambda: BertModel(BertConfig(num_hidden_layers=1)), "got transformers.models.bert"),
    ],
)
def test_what_is_no_vision_transformer_is_told(build, told):
    with pytest.raises(InvalidRequestError, match=f"expected a Tower, a timm VisionTransformer, .* {told}"):
        tower_of(build())


@pytest.mark.parametrize(
    ("x", "thresholds", "told"),
    [
        (images(8), 0.9, r"expected torch.float32 images of batch x 3 x 20 x 20, got torch.float32 of \(2, 3, 8, 8\)"),
        (images()[0], 0.9, r"expected torch.float32 images of batch x 3 x 20 x 20, got torch.float32 of \(3, 20, 20\)"),
        (images().double(), 0.9, r"got torch.float64 of \(2, 3, 20, 20\)"),
        (images(), [0.9], r"expected 3 thresholds, one for each layer, got \[0.9\]"),
        (images(), float("nan"), "expected 3 thresholds"),
    ],
)
def test_what_does_not_fit_is_told(make_vit, x, thresholds, told):
    with pytest.raises(InvalidRequestError, match=told):
        merge(make_vit().float(), x, thresholds)


def test_a_model_in_training_is_refused(make_vit):
    whole, part = make_vit().float().train(), make_vit().float().eval()
    part.blocks.train()
    for model in (whole, part):
        with pytest.raises(InvalidRequestError, match=r"call model\.eval\(\)"):
            merge(model, images(), 0.9)


@pytest.mark.parametrize("thresholds", [np.float32(0.9), torch.tensor(0.9), np.full(3, 0.9), torch.full((3,), 0.9)])
def test_thresholds_may_be_arrays(make_vit, thresholds):
    model = make_vit().float()
    assert merge(model, images(), thresholds).counts.tolist() == merge(model, images(), 0.9).counts.tolist()


def test_what_comes_out_can_be_learned_from(make_vit):
    merged = merge(make_vit().float(), images(), 0.9)
    probe = torch.nn.Linear(merged.tokens.x.shape[-1], 1)
    probe(merged.tokens.x).sum().backward()
    assert probe.weight.grad is not None
