"""A tower whose layers merge tokens, with unchanged weights."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from thinwire.bundle import Merging
from thinwire.nn.attention import Attended, key_bias
from thinwire.nn.merging.matching import Rule, above, merge_by, with_margin
from thinwire.nn.merging.neighbours import merge_neighbours
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.towers.interface import RotaryTower, SpeechTower, Tower


def embed(tower: Tower, inputs: Tensor) -> Tokens:
    """Patch embedding with positions and prefix tokens; see `Tower.embed`."""
    return Tokens.from_embedding(tower.embed(inputs), tower.prefix_tokens)


def rules_for(thresholds: Sequence[float]) -> list[Rule | None]:
    """One rule per layer; None, which costs nothing, for a threshold of 1 or more."""
    return [above(threshold) if threshold < 1 else None for threshold in thresholds]


def run_layers(
    tower: Tower,
    tokens: Tokens,
    rules: Sequence[Rule | None],
    merging: Merging,
    thresholds: Sequence[float] | None = None,
    first: int = 0,
) -> tuple[Tokens, Tensor]:
    """Run layers, as many as there are rules, each merging by its own.

    With `Merging.front`, the first of all rules is for the merge in front of the first layer: a step like a layer.

    Args:
        tower: whose layers run.
        tokens: what enters the first of them.
        rules: one per layer.
        merging: metric, weight, place, bias, and whether there is a merge in front.
        thresholds: where given, the tokens' margin is followed; for checks, since it costs a second matching.
        first: index of the first layer or step to run.

    Returns:
        the tokens that leave the last layer, and ``batch x (rules + 1)`` counts of patch tokens: those that enter the
        first layer and those that leave each.

    Raises:
        ValueError: there are fewer layers than rules.
    """
    steps = tower.depth + merging.front
    if first + len(rules) > steps:
        raise ValueError(f"expected at most {steps - first} rules, got {len(rules)}")
    counts = [tokens.counts]
    for index, rule in enumerate(rules):
        layer = first + index - merging.front
        threshold = None if thresholds is None else thresholds[index]
        if layer < 0:
            tokens = _merge(tokens, _content(tower, tokens), rule, merging.in_front, threshold)
        else:
            tokens = _run_layer(tower, layer, tokens, rule, merging, threshold)
        counts.append(tokens.counts)
    return tokens, torch.stack(counts, dim=1)


def _run_layer(
    tower: Tower, layer: int, tokens: Tokens, rule: Rule | None, merging: Merging, threshold: float | None
) -> Tokens:
    sizes = tokens.all_sizes if merging.proportional_attention else None
    x = torch.cat((tokens.prefix, tokens.x), dim=1)
    attended = _attend(tower, layer, x, key_bias(tokens.padding_mask(), sizes, x.dtype), tokens)
    tokens = _split(tokens, attended.output)
    if merging.place == "layer":
        tokens = _mlp(tower, layer, tokens)
    if rule is not None:
        tokens = _merge(tokens, _metric(attended, tokens, merging), rule, merging, threshold)
    return _mlp(tower, layer, tokens) if merging.place == "attention" else tokens


def _merge(tokens: Tokens, metric: Tensor, rule: Rule | None, merging: Merging, threshold: float | None) -> Tokens:
    if rule is None:
        return tokens
    if merging.neighbours:
        return merge_neighbours(tokens, metric, rule, merging.weight, merging.neighbours, threshold)
    if threshold is not None:
        tokens = with_margin(tokens, metric, threshold)
    return merge_by(tokens, metric, rule, merging.weight)


def _content(tower: Tower, tokens: Tokens) -> Tensor:
    """What enters the first layer, of speech without the positions: silence then looks alike wherever it is."""
    return tokens.x - tower.positions[: tokens.x.shape[1]] if isinstance(tower, SpeechTower) else tokens.x


def _attend(tower: Tower, layer: int, x: Tensor, bias: Tensor | None, tokens: Tokens) -> Attended:
    """`Tower.attend`, with the tokens' places where the tower turns by them."""
    if isinstance(tower, RotaryTower) and tower.rotary:
        return tower.attend_at(layer, x, bias, tokens.centres(tower.grid))
    return tower.attend(layer, x, bias)


def _metric(attended: Attended, tokens: Tokens, merging: Merging) -> Tensor:
    name, prefix_tokens = merging.metric, tokens.prefix.shape[1]
    heads = attended.values if name.startswith("value") else attended.keys
    heads = heads[:, :1, prefix_tokens:] if name == "value_head" else heads[:, :, prefix_tokens:]
    metric = heads.mean(1) if name == "key_mean" else heads.transpose(1, 2).flatten(2)
    if merging.is_centred:
        present = metric.masked_fill(~tokens.valid[..., None], 0)
        metric = metric - present.sum(1, keepdim=True) / tokens.counts[:, None, None]
    return metric


def _mlp(tower: Tower, layer: int, tokens: Tokens) -> Tokens:
    return _split(tokens, tower.mlp(layer, torch.cat((tokens.prefix, tokens.x), dim=1)))


def _split(tokens: Tokens, x: Tensor) -> Tokens:
    prefix_tokens = tokens.prefix.shape[1]
    return replace(tokens, prefix=x[:, :prefix_tokens], x=x[:, prefix_tokens:])
