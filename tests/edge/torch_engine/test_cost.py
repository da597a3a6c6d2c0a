"""The cost per image against running timm's own model and the counting hooks."""

import numpy as np
import pytest
import torch

from edge.torch_engine.cost import EdgeCost
from edge.torch_engine.encoder import JsccEncoder
from thinwire.bundle import Merging
from thinwire.nn.backbone import build_backbone
from thinwire.nn.macs import count_macs

OPTIONS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 0}


def cost_of(counts, merged, final, merging=None, encoder=None, **options):
    model = build_backbone({"kwargs": OPTIONS | options}).eval()
    cost = EdgeCost(model, 3, merging or Merging(), encoder)
    return model, cost.gmacs(np.array([counts]), merged, np.array([final]))[0] * 1e9


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}, {"reg_tokens": 3}])
def test_without_merging_it_is_the_model(options):
    model, macs = cost_of([16] * 4, [False] * 3, 16, **options)
    assert macs == pytest.approx(count_macs(model, torch.zeros(1, 3, 32, 32)))


def test_fewer_tokens_and_matching_by_hand():
    _, macs = cost_of([16, 10, 10, 6], [True, False, True], 6)
    width, hidden = 32, 128

    def attention(n):
        return 4 * n * width * width + 2 * n * n * width

    def mlp(n):
        return 2 * n * width * hidden

    def matching(n):
        return (n // 2) * ((n + 1) // 2) * width + n * 3 * width

    embedding = 16 * 3 * 64 * width
    blocks = attention(17) + mlp(11) + attention(11) + mlp(11) + attention(11) + mlp(7)
    assert macs == embedding + blocks + matching(16) + matching(10)


def test_merging_after_the_layer_runs_the_mlp_on_all_tokens():
    _, early = cost_of([16, 10, 10, 10], [True, False, False], 10)
    _, late = cost_of([16, 10, 10, 10], [True, False, False], 10, Merging(place="layer"))
    assert late - early == 6 * 2 * 32 * 128


def test_the_cap_costs_one_matching_a_round():
    _, free = cost_of([16] * 4, [False] * 3, 16)
    _, capped = cost_of([16] * 4, [False] * 3, 3)
    # 16 -> 8 -> 4 -> 3
    assert capped - free == sum((n // 2) * ((n + 1) // 2) * 32 + n * 3 * 32 for n in (16, 8, 4))


def test_the_encoder_counts_for_what_is_sent():
    encoder = JsccEncoder(32, 48, 4)
    _, without = cost_of([16] * 4, [False] * 3, 9)
    _, with_encoder = cost_of([16] * 4, [False] * 3, 9, encoder=encoder)
    gate = 2 * 32 + 32 * 48
    # Nine patches and the class token.
    assert with_encoder - without == 10 * (33 * 48 + gate + 48 * 8)
