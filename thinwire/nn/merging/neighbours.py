"""Merging of tokens in a row: each only with the one before or after it, several times over, so that runs collapse.

The roles are those of `thinwire.nn.merging.matching`: even ranks are destinations, odd ones sources, and a round takes
half of the tokens at most. What is compared after the first round are averages: those of the metrics that merged, with
the weights of the hidden states.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from thinwire.nn.merging.matching import Rule, merge, note_margin, top, weights_of
from thinwire.nn.merging.tokens import Tokens

# Tokens of silence are equal but for rounding, which every engine does in its own way.
NEARLY = 1e-3


def match_neighbours(metric: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the neighbour that each source is most like, the earlier where they differ by no more than `NEARLY`.

    Args:
        metric: ``batch x N x M`` with N of at least 2, compared by cosine.
        valid: ``batch x N`` bool, false for padding, which stands behind all tokens.

    Returns:
        ``batch x sources`` similarities to that neighbour (-inf for padding), its index among the destinations, and
        the similarities less what they would have to differ by for the other one (-inf where there is none).
    """
    unit = F.normalize(metric, dim=-1)
    beside = (unit[:, 1:] * unit[:, :-1]).sum(-1).masked_fill(~valid[:, 1:], float("-inf"))
    before, after = beside[:, 0::2], beside[:, 1::2]
    # The last token of an even number is a source with nothing behind it.
    after = F.pad(after, (0, before.shape[1] - after.shape[1]), value=float("-inf"))
    is_after = after > before + NEARLY
    target = torch.arange(before.shape[1], device=metric.device) + is_after.long()
    best = torch.where(is_after, after, before)
    # Of padding the difference is none.
    return best, target, best - (after - before - NEARLY).abs().nan_to_num(nan=float("inf"), posinf=float("inf"))


def merge_neighbours(
    tokens: Tokens, metric: Tensor, rule: Rule, weight: str, rounds: int, threshold: float | None = None
) -> Tokens:
    """Match neighbours, decide by a rule, and merge, until nothing does or the rounds are over.

    Args:
        metric: ``batch x N x M``, compared by cosine.
        rule: as in `thinwire.nn.merging.matching`.
        weight: as for `thinwire.nn.merging.matching.merge`.
        rounds: the most there are.
        threshold: where given, that of the rule, and the tokens' margin is followed.
    """
    width = tokens.x.shape[-1]
    for _ in range(rounds):
        if tokens.x.shape[1] < 2:
            break
        best, target, second = match_neighbours(metric, tokens.valid)
        if threshold is not None:
            tokens = note_margin(tokens, best, second, threshold)
        merges = rule(best)
        if not bool(merges.any()):
            break
        joint = replace(tokens, x=torch.cat((tokens.x, metric), dim=-1))
        joint = merge(joint, merges, target, weights_of(tokens, weight))
        tokens, metric = replace(joint, x=joint.x[..., :width]), joint.x[..., width:]
    return tokens


def merge_neighbours_down_to(tokens: Tokens, limits: Tensor, weight: str) -> Tokens:
    """`thinwire.nn.merging.matching.merge_down_to` for tokens in a row: only neighbours merge."""
    while bool((tokens.counts > limits).any()):
        best, target, _ = match_neighbours(tokens.x, tokens.valid)
        tokens = merge(tokens, top((tokens.counts - limits).clamp_min(0))(best), target, weight)
    return tokens


def spans(tokens: Tokens) -> Tensor:
    """What each token covers, where only neighbours have merged.

    Returns:
        ``batch x N x 2`` int64: its first position and the one behind its last; meaningless for padding.
    """
    ends = tokens.sizes.round().long().cumsum(1)
    starts = F.pad(ends[:, :-1], (1, 0))
    return torch.stack((starts, ends), dim=-1)
