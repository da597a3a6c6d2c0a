"""timm's whole family: unmerged it is timm's own function, and heads count a token as often as it has patches."""

import pytest
import torch
from timm.layers import DiffAttention
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva
from timm.models.vision_transformer import (
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
)

from offline.bundles.own_output import perturbed
from thinwire.bundle import Merging
from thinwire.errors import InvalidRequestError
from thinwire.nn.backbone import TokenAndMean, VisionTransformer
from thinwire.nn.head import classify_images, classify_packed, classify_tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.packed import Packing
from thinwire.nn.towers.interface import ClassifyingTower, RotaryTower
from thinwire.nn.towers.models import classifier_of, tower_of

SIZES = {"img_size": 24, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 5}
MERGING = Merging(metric="value", weight="size", proportional_attention=True)
KINDS = {
    "class token": (VisionTransformer, {}),
    "registers": (VisionTransformer, {"reg_tokens": 3, "no_embed_class": True}),
    "mean": (VisionTransformer, {"global_pool": "avg", "class_token": False}),
    "class token and mean": (TokenAndMean, {"global_pool": "token+avg", "init_values": 0.3}),
    "mean with prefix": (VisionTransformer, {"global_pool": "avg", "pool_include_prefix": True}),
    "largest": (VisionTransformer, {"global_pool": "max"}),
    "mean and largest": (VisionTransformer, {"global_pool": "avgmax"}),
    "attention pooling": (VisionTransformer, {"global_pool": "map", "class_token": False}),
    "attention pooling beside a class token": (VisionTransformer, {"global_pool": "map"}),
    "refined": (VisionTransformer, {"global_pool": "prr"}),
    "norms and scales": (
        VisionTransformer,
        {"pre_norm": True, "fc_norm": True, "qk_norm": True, "init_values": 0.1, "scale_attn_norm": True},
    ),
    "dynamic size": (VisionTransformer, {"dynamic_img_size": True}),
    "post norm": (VisionTransformer, {"block_fn": ResPostBlock}),
    "two at once": (VisionTransformer, {"block_fn": ParallelThingsBlock}),
    "at once": (VisionTransformer, {"block_fn": ParallelScalingBlock}),
    "differential": (VisionTransformer, {"attn_layer": DiffAttention, "embed_dim": 48}),
    "differential at once": (VisionTransformer, {"block_fn": DiffParallelScalingBlock, "embed_dim": 48}),
    "distilled": (VisionTransformerDistilled, {}),
    "eva": (Eva, {}),
    "eva without positions that turn": (Eva, {"use_rot_pos_emb": False}),
    "eva, turning": (Eva, {"use_rot_pos_emb": True, "swiglu_mlp": True, "embed_dim": 48}),
    "eva, scaled and separate": (
        Eva,
        {"use_rot_pos_emb": True, "qkv_fused": False, "init_values": 0.1, "embed_dim": 48, "scale_mlp": True},
    ),
    "dinov3": (
        Eva,
        {"use_rot_pos_emb": True, "rope_type": "dinov3", "rope_rotate_half": True, "embed_dim": 48}
        | {"use_abs_pos_emb": False, "num_reg_tokens": 4, "dynamic_img_size": True},
    ),
    "learnt frequencies": (Eva, {"use_rot_pos_emb": True, "rope_type": "mixed", "attn_type": "rope", "embed_dim": 48}),
    "few keys": (
        Eva,
        {"attn_type": "rope", "num_kv_heads": 1, "qkv_fused": False, "embed_dim": 48, "use_rot_pos_emb": True},
    ),
    "eva, post norm": (Eva, {"use_post_norm": True}),
    "eva, attention pooling": (Eva, {"global_pool": "map"}),
}


def make(name):
    """A model of 36 patches and two blocks, away from where training begins."""
    kind, options = KINDS[name]
    torch.manual_seed(0)
    return perturbed(kind(**SIZES | options).eval())


def split(model, x, threshold, split_layer):
    """Logits of the split, and token counts."""
    tower = tower_of(model)
    tokens, counts = run_layers(tower, embed(tower, x), rules_for([threshold] * split_layer), MERGING)
    rows = torch.cat((tokens.prefix, tokens.x), dim=1)
    valid = torch.cat((tokens.valid.new_ones(tokens.prefix.shape[:2]), tokens.valid), dim=1)
    return classify_tokens(model, split_layer, rows, tokens.all_sizes, valid, True), tokens, counts


@torch.inference_mode()
@pytest.mark.parametrize("name", KINDS)
def test_unmerged_it_is_timms_own_function(name):
    model, x = make(name), torch.randn(2, 3, 24, 24)
    tower = classifier_of(model)
    assert isinstance(tower, ClassifyingTower)
    own = model(x)
    for split_layer in (tower.depth,) if tower.rotary else (1, 2):
        torch.testing.assert_close(split(model, x, 1.0, split_layer)[0], own, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(classify_images(tower, x), own, rtol=1e-4, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("name", KINDS)
def test_merged_frames_are_answered_alike_padded_and_packed(name):
    model, x = make(name), torch.randn(3, 3, 24, 24)
    depth = tower_of(model).depth
    logits, tokens, counts = split(model, x, 0.3, depth)
    assert (counts[:, -1] < counts[:, 0]).all()
    assert logits.isfinite().all()
    lengths = [int(count) + tokens.prefix.shape[1] for count in tokens.counts]
    rows = torch.cat((tokens.prefix, tokens.x), dim=1)
    packed = torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)])
    sizes = torch.cat([row[:length] for row, length in zip(tokens.all_sizes, lengths, strict=True)])
    packing = Packing(tuple(lengths), torch.device("cpu"))
    torch.testing.assert_close(classify_packed(model, depth, packed, sizes, packing, True), logits)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["mean", "mean with prefix", "attention pooling", "refined", "eva, attention pooling"])
def test_a_head_counts_a_token_as_often_as_it_has_patches(name):
    tower = classifier_of(make(name))
    x = torch.randn(2, tower.prefix_tokens + 3, tower.width)
    twice = torch.cat((x, x[:, -1:]), dim=1)
    weights = torch.ones(2, x.shape[1])
    weights[:, -1] = 2
    valid = torch.ones(2, twice.shape[1], dtype=torch.bool)
    merged = tower.head(x, weights, valid[:, :-1])
    torch.testing.assert_close(merged, tower.head(twice, torch.ones(2, twice.shape[1]), valid), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_merged_token_turns_to_the_centre_of_its_patches():
    tower = tower_of(make("eva, turning"))
    assert isinstance(tower, RotaryTower)
    tokens, _ = run_layers(tower, embed(tower, torch.randn(2, 3, 24, 24)), rules_for([0.0]), MERGING)
    centres = tokens.centres(tower.grid)
    assert not centres[:, : tower.prefix_tokens].any()
    for image in range(2):
        for row in range(int(tokens.counts[image])):
            mine = tower.grid[tokens.origin[image] == row]
            assert len(mine) == int(tokens.sizes[image, row])
            torch.testing.assert_close(centres[image, tower.prefix_tokens + row], mine.mean(0))


@torch.inference_mode()
def test_layers_after_the_split_need_places_that_are_not_sent():
    with pytest.raises(ValueError, match="split_layer: expected 2, since rotary positions are not sent, got 1"):
        split(make("eva, turning"), torch.randn(1, 3, 24, 24), 1.0, 1)


def test_a_model_that_does_not_classify_is_told():
    with pytest.raises(InvalidRequestError, match="expected a Tower"):
        classifier_of(torch.nn.Linear(2, 2))
