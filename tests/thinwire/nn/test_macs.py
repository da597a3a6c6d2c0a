"""The counter against the figures that DeiT's and ViT's authors give, and against counting by hand."""

import pytest
import torch
from torch import nn

from thinwire.nn.backbone import build_backbone
from thinwire.nn.macs import count_macs


@pytest.mark.parametrize(
    ("name", "gmacs"), [("deit_small_patch16_224", 4.6), ("vit_base_patch16_224", 17.6)], ids=["DeiT-S", "ViT-B"]
)
def test_published_models_cost_what_their_authors_say(name, gmacs):
    model = build_backbone({"timm": name}).eval()
    assert round(count_macs(model, torch.zeros(1, 3, 224, 224)) / 1e9, 1) == gmacs


def test_layers_count_by_hand():
    layers = nn.Sequential(nn.Conv2d(3, 5, 3, stride=2, padding=1, groups=1), nn.Flatten(), nn.Linear(5 * 16, 7))
    assert count_macs(layers, torch.zeros(2, 3, 8, 8)) == 2 * (16 * 5 * 3 * 9 + 80 * 7)
    assert count_macs(nn.Conv2d(4, 4, 3, groups=4), torch.zeros(1, 4, 5, 5)) == 9 * 4 * 9


def test_hooks_do_not_stay():
    layer = nn.Linear(2, 2)
    count_macs(layer, torch.zeros(1, 2))
    assert not layer._forward_hooks
