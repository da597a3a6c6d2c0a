"""The cost per image against running timm's own model and the counting hooks."""

import numpy as np
import pytest
import torch

from edge.torch_engine import count_edge
from thinwire.bundle import Merging
from thinwire.nn.backbone import build_backbone
from thinwire.nn.codec.encoders import AttentionEncoder, MlpEncoder
from thinwire.nn.macs import count_macs
from thinwire.nn.towers.registry import build_tower
from thinwire.nn.towers.timm_tower import TimmTower

OPTIONS = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 0}


def cost_of(counts, merged, final, merging=None, encoder=None, **options):
    model = build_backbone({"kwargs": OPTIONS | options}).eval()
    cost = count_edge(TimmTower(model), 3, merging or Merging(), encoder)
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


@pytest.mark.parametrize("metric", ["value_head", "key_mean"])
def test_matching_on_one_head_costs_a_heads_width(metric):
    _, wide = cost_of([16, 10, 10, 10], [True, False, False], 10)
    _, narrow = cost_of([16, 10, 10, 10], [True, False, False], 10, Merging(metric=metric))
    # Products of 8 sources and 8 destinations, and norms of 16 tokens, on 8 of 32 channels.
    assert wide - narrow == (8 * 8 + 16) * 24


def test_taking_off_the_mean_key_costs_its_sum():
    _, plain = cost_of([16, 10, 10, 10], [True, False, False], 10)
    _, centred = cost_of([16, 10, 10, 10], [True, False, False], 10, Merging(metric="key"))
    assert centred - plain == 16 * 32


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
    encoder = MlpEncoder(32, 48, 4)
    _, without = cost_of([16] * 4, [False] * 3, 9)
    _, with_encoder = cost_of([16] * 4, [False] * 3, 9, encoder=encoder)
    gate = 2 * 32 + 32 * 48
    # Nine patches and the class token.
    assert with_encoder - without == 10 * (33 * 48 + gate + 48 * 8)


def test_an_encoder_with_attention_is_quadratic_in_what_is_sent():
    encoder = AttentionEncoder(32, 48, 4)
    for sent in (1, 4, 9, 16):
        _, without = cost_of([16] * 4, [False] * 3, sent)
        _, with_encoder = cost_of([16] * 4, [False] * 3, sent, encoder=encoder)
        tokens, gates = sent + 1, 2 * (2 * 32 + 32 * 48)
        # timm's own block under the counting hooks, which see its attention.
        block = count_macs(encoder.block, torch.zeros(1, tokens, 48))
        assert with_encoder - without == tokens * (33 * 48 + gates + 48 * 8) + block


def clip_cost(size, patch, width, hidden, layers, heads):
    """A CLIP tower at its last feature layer but one, on the meta device: nothing is computed, everything counted."""
    config = {"image_size": size, "patch_size": patch, "hidden_size": width, "intermediate_size": hidden}
    config |= {"num_hidden_layers": layers, "num_attention_heads": heads}
    with torch.device("meta"):
        tower = build_tower({"tower": "clip", "config": config, "feature_layer": -2})
    return tower, count_edge(tower, tower.depth, Merging(), None)


def test_clip_costs_what_counting_by_hand_gives():
    # ViT-L/14 at 336 pixels, as LLaVA-1.5 reads it: 23 of 24 layers, 576 patches and a class token.
    tower, cost = clip_cost(336, 14, 1024, 4096, 24, 16)
    embedding = 576 * (3 * 14 * 14) * 1024
    layer = 577 * (4 * 1024 * 1024 + 2 * 1024 * 4096) + 2 * 577 * 577 * 1024
    counts = np.full((1, 24), 576)
    assert tower.depth == 23
    assert cost.gmacs(counts, [False] * 23, counts[:, -1])[0] * 1e9 == embedding + 23 * layer == 183_016_929_280


def test_clip_with_fewer_tokens_by_hand():
    _, cost = clip_cost(20, 4, 24, 40, 4, 3)
    counts = np.array([[25, 16, 16, 9]])

    def attention(n):
        return 4 * n * 24 * 24 + 2 * n * n * 24

    def matching(n):
        return (n // 2) * ((n + 1) // 2) * 24 + n * 3 * 24

    # The class token runs through every layer.
    layers = attention(26) + attention(17) + attention(17) + 2 * 24 * 40 * (17 + 17 + 10)
    expected = 25 * 48 * 24 + layers + matching(25) + matching(16)
    assert cost.gmacs(counts, [True, False, True], counts[:, -1])[0] * 1e9 == pytest.approx(expected, abs=1e-3)


def test_a_discarded_class_token_is_not_encoded():
    encoder = MlpEncoder(32, 48, 4)
    tower = TimmTower(build_backbone({"kwargs": OPTIONS}).eval())
    counts = np.full((1, 4), 16)
    sent, kept = (count_edge(tower, 3, Merging(), encoder, prefix) for prefix in (0, 1))
    difference = kept.gmacs(counts, [False] * 3, counts[:, -1]) - sent.gmacs(counts, [False] * 3, counts[:, -1])
    assert difference[0] * 1e9 == pytest.approx(encoder.macs_per_token())
