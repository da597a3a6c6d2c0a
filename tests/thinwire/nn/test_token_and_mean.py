"""A head on the class token and the mean of the patches: its definition, and what merging must keep of it."""

import pytest
import torch

from thinwire.nn.backbone import TokenAndMean
from thinwire.nn.head import classify_packed, classify_tokens
from thinwire.nn.packed import Packing
from thinwire.nn.towers.models import classifier_of

REGISTERS = pytest.mark.parametrize("registers", [0, 2])


@REGISTERS
@torch.inference_mode()
def test_the_logits_are_those_of_both_features(make_vit, registers):
    model = make_vit(global_pool="token+avg", reg_tokens=registers)
    assert type(model) is TokenAndMean
    images = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    normed = model.forward_features(images)
    by_hand = [
        model.head.weight @ torch.cat((rows[0], sum(rows[1 + registers :]) / 25)) + model.head.bias for rows in normed
    ]
    torch.testing.assert_close(model(images), torch.stack(by_hand))
    tower = classifier_of(model)
    x = tower.embed(images)
    for layer in range(tower.depth):
        x = tower.mlp(layer, tower.attend(layer, x, None).output)
    ones = x.new_ones(x.shape[:2])
    torch.testing.assert_close(tower.head(x, ones, ones.bool()), model(images))


@REGISTERS
@torch.inference_mode()
def test_a_token_of_several_patches_counts_as_often(make_vit, registers):
    model = make_vit(global_pool="token+avg", reg_tokens=registers)
    prefix, sizes = 1 + registers, torch.tensor([3, 1, 5])
    rows = torch.randn(prefix + 3, 24, dtype=torch.float64)
    repeated = torch.cat((rows[:prefix], rows[prefix:].repeat_interleave(sizes, 0)))

    def logits(x, weights):
        return classify_tokens(model, 3, x[None], weights[None], torch.ones(1, len(x), dtype=torch.bool), False)

    # The prefix's own weights must not matter.
    weights = torch.cat((torch.full((prefix,), 7.0), sizes)).double()
    merged = logits(rows, weights)
    torch.testing.assert_close(merged, logits(repeated, torch.ones(len(repeated), dtype=torch.float64)))
    assert not torch.allclose(merged, logits(rows, torch.ones_like(weights)))
    packing = Packing((len(rows),), torch.device("cpu"))
    torch.testing.assert_close(classify_packed(model, 3, rows, weights, packing, False), merged)
