"""What the cloud computes after decoding: the blocks after the split, pooling by size, the classifier."""

from typing import Any, cast

import torch
from timm.layers import Attention
from torch import Tensor, nn

from thinwire.nn.attention import key_bias
from thinwire.nn.backbone import TOKEN_AND_MEAN, Block, TokenAndMean, VisionTransformer
from thinwire.nn.packed import Packing, run_packed
from thinwire.nn.towers.interface import ClassifyingTower, RotaryTower
from thinwire.nn.towers.models import classifier_of


def classify_tokens(
    model: nn.Module, split_layer: int, x: Tensor, weights: Tensor, valid: Tensor, proportional_attention: bool
) -> Tensor:
    """Finish the forward pass of a backbone on a set of tokens.

    Args:
        model: its blocks from ``split_layer`` on, final norm and head are used; as
            `thinwire.nn.towers.models.classifier_of` takes it.
        x: ``batch x N x D`` tokens, those of the prefix first.
        weights: ``batch x N`` share of the patches in each token; any scale.
        valid: ``batch x N`` bool, false for padding.
        proportional_attention: as in `thinwire.bundle.Merging`: whether attention counts a token as often as it has
            patches. A factor common to all weights of a frame changes nothing then.

    Returns:
        ``batch x classes`` logits.

    Raises:
        ValueError: the model classifies in no way that takes sizes, or its blocks need places that are not sent.
    """
    padded = None if bool(valid.all()) else valid
    bias = key_bias(padded, weights if proportional_attention else None, x.dtype)
    return finish(model, split_layer, x, weights, valid, bias)


def finish(
    model: nn.Module, split_layer: int, x: Tensor, weights: Tensor, valid: Tensor, bias: Tensor | None
) -> Tensor:
    """`classify_tokens` under a bias on the keys that is given, so that nothing depends on what ``valid`` holds."""
    tower = classifier_of(model)
    if getattr(tower, "rotary", False) and split_layer < tower.depth:
        raise ValueError(f"split_layer: expected {tower.depth}, since rotary positions are not sent, got {split_layer}")
    for layer in range(split_layer, tower.depth):
        x = tower.mlp(layer, tower.attend(layer, x, bias).output)
    return tower.head(x, weights, valid)


def classify_images(tower: ClassifyingTower, images: Tensor) -> Tensor:
    """The whole forward pass through a tower, nothing merged: ``batch x classes`` logits of normalised images."""
    x = tower.embed(images)
    ones = x.new_ones(x.shape[:2])
    turns = isinstance(tower, RotaryTower) and tower.rotary
    if turns:
        grid = cast(RotaryTower, tower).grid.to(x)
        centres = torch.cat((grid.new_zeros(tower.prefix_tokens, grid.shape[1]), grid)).expand(x.shape[0], -1, -1)
    for layer in range(tower.depth):
        if turns:
            attended = cast(RotaryTower, tower).attend_at(layer, x, None, centres)
        else:
            attended = tower.attend(layer, x, None)
        x = tower.mlp(layer, attended.output)
    return tower.head(x, ones, ones.bool())


def classify_packed(
    model: nn.Module,
    split_layer: int,
    x: Tensor,
    weights: Tensor,
    packing: Packing,
    proportional_attention: bool,
) -> Tensor:
    """`classify_tokens` without padding where the blocks are timm's plain ones, for serving.

    Args:
        x: ``T x D`` tokens of all frames, those of the prefix first in each.
        weights: ``T`` shares of the patches.
        packing: which rows are whose.
        proportional_attention: as for `classify_tokens`.

    Returns:
        ``frames x classes`` logits.

    Raises:
        ValueError: as for `classify_tokens`.
    """
    if not _is_plain(model, split_layer):
        rows = packing.padded(x), packing.padded(weights), packing.valid
        return classify_tokens(model, split_layer, *rows, proportional_attention)
    plain: Any = model
    sizes = weights if proportional_attention else None
    for block in plain.blocks[split_layer:]:
        x = run_packed(block, x, packing, sizes)
    read: list[Tensor] = []
    if plain.global_pool in ("token", TOKEN_AND_MEAN):
        read.append(plain.norm(packing.first(x)))
    if plain.global_pool in ("avg", TOKEN_AND_MEAN):
        patches = packing.position >= plain.num_prefix_tokens
        shares = (weights * patches)[:, None]
        read.append(packing.per_set(plain.norm(x) * shares) / packing.per_set(shares))
    logits: Tensor = plain.head(plain.fc_norm(torch.cat(read, dim=-1)))
    return logits


def _is_plain(model: Any, split_layer: int) -> bool:
    if type(model) not in (VisionTransformer, TokenAndMean):
        return False
    kinds = [(type(block), type(getattr(block, "attn", None))) for block in model.blocks[split_layer:]]
    if any(kind != (Block, Attention) for kind in kinds):
        return False
    pool = model.global_pool
    return pool in ("token", TOKEN_AND_MEAN) or (
        pool == "avg" and not (model.pool_include_prefix and model.num_prefix_tokens)
    )
