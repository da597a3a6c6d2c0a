"""Which tokens merge, and merging them: bipartite by raster rank, even tokens destinations, odd ones sources."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from thinwire.nn.merging.tokens import Tokens

# Keeps the average of a group of zero vectors defined.
MIN_WEIGHT = 1e-12

Rule = Callable[[Tensor], Tensor]
"""From the ``batch x sources`` best similarities (-inf for padding) to which sources merge, a bool of that shape."""


def above(threshold: float) -> Rule:
    """Merge every source whose best similarity exceeds a threshold (arXiv 2509.09955)."""
    return lambda best: best > threshold


def top(counts: Tensor | int) -> Rule:
    """Merge each image's most similar sources, ``counts`` of them; the earlier on a tie.

    Args:
        counts: one number for all images, or ``batch`` int64.
    """
    limit = counts if isinstance(counts, int) else counts[:, None]

    def rule(best: Tensor) -> Tensor:
        order = best.argsort(dim=1, descending=True, stable=True)
        ranks = order.argsort(dim=1)
        return (ranks < limit) & (best > float("-inf"))

    return rule


def match(metric: Tensor, valid: Tensor, second: bool = False) -> tuple[Tensor, Tensor, Tensor | None]:
    """Find the most similar destination of each source.

    Args:
        metric: ``batch x N x M``, compared by cosine.
        valid: ``batch x N`` bool, false for padding.
        second: also give the second best similarity.

    Returns:
        ``batch x sources`` best similarities (-inf for padding), indices of the destinations that have them, and the
        second best similarities (-inf where there is one destination) or None.
    """
    unit = F.normalize(metric, dim=-1)
    similarity = unit[:, 1::2] @ unit[:, 0::2].transpose(1, 2)
    similarity = similarity.masked_fill(~valid[:, None, 0::2], float("-inf"))
    best, target = similarity.max(dim=-1)
    runner_up = None
    if second:
        rest = similarity.scatter(2, target[..., None], float("-inf"))
        runner_up = rest.max(dim=-1).values
    return best.masked_fill(~valid[:, 1::2], float("-inf")), target, runner_up


def weights_of(tokens: Tokens, weight: str) -> Tensor:
    """``batch x N`` weights of the tokens in an average, by "norm" or "size"; none is zero."""
    weights = tokens.x.norm(dim=-1) if weight == "norm" else tokens.sizes
    return weights.clamp_min(MIN_WEIGHT)


def merge(tokens: Tokens, merges: Tensor, target: Tensor, weight: str | Tensor) -> Tokens:
    """Merge sources into their destinations, each group averaged at once; survivors keep raster order.

    Args:
        merges: ``batch x sources`` bool, which sources merge.
        target: ``batch x sources`` int64, index of each source's destination among the destinations.
        weight: "norm" weighs by the norms of the hidden states, "size" by the sizes; or ``batch x N`` weights.
    """
    x, width = tokens.x, tokens.x.shape[-1]
    weights = weight if isinstance(weight, Tensor) else weights_of(tokens, weight)
    moved = merges.to(x.dtype)
    source_weights = weights[:, 1::2] * moved
    total = weights[:, 0::2].scatter_add(1, target, source_weights)
    index = target[..., None].expand(-1, -1, width)
    summed = (x[:, 0::2] * weights[:, 0::2, None]).scatter_add(1, index, x[:, 1::2] * source_weights[..., None])
    joined = torch.zeros_like(total).scatter_add(1, target, moved) > 0
    merged, sizes = x.clone(), tokens.sizes.clone()
    # A destination that nothing joins keeps its bits.
    merged[:, 0::2] = torch.where(joined[..., None], summed / total[..., None], x[:, 0::2])
    sizes[:, 0::2] = sizes[:, 0::2].scatter_add(1, target, tokens.sizes[:, 1::2] * moved)

    keep = tokens.valid
    keep[:, 1::2] &= ~merges
    counts = keep.sum(1)
    # A stable sort of the flags brings the survivors to the front in raster order.
    order = (~keep).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(counts.max())]
    rank = keep.cumsum(1) - 1
    rank[:, 1::2] = torch.where(merges, rank[:, 0::2].gather(1, target), rank[:, 1::2])
    return replace(
        tokens,
        x=merged.gather(1, order[..., None].expand(-1, -1, width)),
        counts=counts,
        sizes=sizes.gather(1, order),
        origin=rank.gather(1, tokens.origin),
    )


def merge_by(tokens: Tokens, metric: Tensor, rule: Rule, weight: str) -> Tokens:
    """Match, decide by a rule, and merge."""
    if tokens.x.shape[1] < 2:
        return tokens
    best, target, _ = match(metric, tokens.valid)
    return merge(tokens, rule(best), target, weight)


def with_margin(tokens: Tokens, metric: Tensor, threshold: float) -> Tokens:
    """Note how near the decisions of a threshold on this metric are to going the other way."""
    if tokens.x.shape[1] < 2:
        return tokens
    best, _, second = match(metric, tokens.valid, second=True)
    assert second is not None
    return note_margin(tokens, best, second, threshold)


def note_margin(tokens: Tokens, best: Tensor, second: Tensor, threshold: float) -> Tokens:
    """`with_margin` from the ``batch x sources`` best and second best similarities."""
    inf = float("inf")
    to_threshold = (best - threshold).abs().amin(1)
    to_second = torch.where(best > threshold, best - second, inf).amin(1)
    margin = torch.minimum(tokens.margin, torch.minimum(to_threshold, to_second))
    return replace(tokens, margin=margin)


def merge_down_to(tokens: Tokens, limits: Tensor, weight: str) -> Tokens:
    """Merge by the cosine of the hidden states, in repeated rounds, until no image has more tokens than its limit.

    Args:
        limits: ``batch`` int64, at least 1.
    """
    while bool((tokens.counts > limits).any()):
        tokens = merge_by(tokens, tokens.x, top((tokens.counts - limits).clamp_min(0)), weight)
    return tokens
