"""A timm vision transformer whose blocks merge tokens, with unchanged weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from edge.torch_engine.matching import Rule, above, merge_by, with_margin
from edge.torch_engine.tokens import Tokens
from thinwire.bundle import Merging
from thinwire.nn.attention import Attended, attend, check_block, key_bias
from thinwire.nn.backbone import Block, VisionTransformer


def embed(model: VisionTransformer, images: Tensor) -> Tokens:
    """Patch embedding with positions and prefix tokens.

    Args:
        images: ``batch x 3 x height x width``, normalised.
    """
    embedded = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    return Tokens.from_embedding(embedded, model.num_prefix_tokens)


def rules_for(thresholds: Sequence[float]) -> list[Rule | None]:
    """One rule per layer; None, which costs nothing, for a threshold of 1 or more."""
    return [above(threshold) if threshold < 1 else None for threshold in thresholds]


def run_layers(
    blocks: Sequence[Block],
    tokens: Tokens,
    rules: Sequence[Rule | None],
    merging: Merging,
    thresholds: Sequence[float] | None = None,
) -> tuple[Tokens, Tensor]:
    """Run blocks, each merging by its rule.

    Args:
        blocks: the blocks to run.
        tokens: what enters the first.
        rules: one per block.
        merging: metric, weight, place and bias.
        thresholds: where given, the tokens' margin is followed; for checks, since it costs a second matching.

    Returns:
        the tokens that leave the last block, and ``batch x (blocks + 1)`` counts of patch tokens: those that enter the
        first block and those that leave each.

    Raises:
        ValueError: a block is of a kind that cannot be run, or the number of rules is another.
    """
    if len(rules) != len(blocks):
        raise ValueError(f"expected {len(blocks)} rules, got {len(rules)}")
    counts = [tokens.counts]
    for layer, (block, rule) in enumerate(zip(blocks, rules, strict=True)):
        check_block(block)
        sizes = tokens.all_sizes if merging.proportional_attention else None
        x = torch.cat((tokens.prefix, tokens.x), dim=1)
        attended = attend(block.attn, block.norm1(x), key_bias(tokens.padding_mask(), sizes, x.dtype))
        tokens = _split(tokens, x + block.ls1(attended.output))
        if merging.place == "layer":
            tokens = _mlp(block, tokens)
        if rule is not None:
            metric = _metric(attended, tokens.prefix.shape[1], merging.metric)
            if thresholds is not None:
                tokens = with_margin(tokens, metric, thresholds[layer])
            tokens = merge_by(tokens, metric, rule, merging.weight)
        if merging.place == "attention":
            tokens = _mlp(block, tokens)
        counts.append(tokens.counts)
    return tokens, torch.stack(counts, dim=1)


def _metric(attended: Attended, prefix_tokens: int, name: str) -> Tensor:
    heads = attended.values if name == "value" else attended.keys
    heads = heads[:, :, prefix_tokens:]
    return heads.mean(1) if name == "key_mean" else heads.transpose(1, 2).flatten(2)


def _mlp(block: Block, tokens: Tokens) -> Tokens:
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    return _split(tokens, x + block.ls2(block.mlp(block.norm2(x))))


def _split(tokens: Tokens, x: Tensor) -> Tokens:
    prefix_tokens = tokens.prefix.shape[1]
    return replace(tokens, prefix=x[:, :prefix_tokens], x=x[:, prefix_tokens:])
