"""timm's vision transformer with ToMe, to be compared with: written from the paper, for a fixed number per layer.

Source: Bolya et al. (2023), Token merging: your ViT but faster, arXiv 2210.09461. `thinwire.nn.merging.tome` is its
rule in our engine; this is what its method costs by itself: no batch of different lengths, no order to keep, no map of
what merged.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from thinwire.nn.backbone import VisionTransformer


class ToMe(nn.Module):
    """A model that merges so many tokens at each layer.

    Args:
        model: timm's, whose weights stay.
        merged: tokens that merge at each layer; half of the patches at most.
    """

    def __init__(self, model: VisionTransformer, merged: Sequence[int]) -> None:
        super().__init__()
        self.model, self.merged = model, tuple(merged)

    def forward(self, x: Tensor) -> Tensor:
        """``batch x 3 x height x width`` images to ``batch x classes`` logits."""
        model = self.model
        x = model.norm_pre(model._pos_embed(model.patch_embed(x)))
        sizes = None
        for block, r in zip(model.blocks, self.merged, strict=True):
            x, keys = _attend(block, x, sizes)
            if r:
                x, sizes = _merge(x, sizes, keys, r, model.num_prefix_tokens)
            x = x + block.ls2(block.mlp(block.norm2(x)))
        logits: Tensor = model.forward_head(model.norm(x))
        return logits


def _attend(block: Block, x: Tensor, sizes: Tensor | None) -> tuple[Tensor, Tensor]:
    """Attention with its residual, and the mean of the keys over the heads."""
    attention = block.attn
    batch, count, _ = x.shape
    qkv = attention.qkv(block.norm1(x)).reshape(batch, count, 3, attention.num_heads, attention.head_dim)
    query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
    # Proportional attention, equation 1; nothing has merged where there are no sizes.
    bias = None if sizes is None else sizes.log()[:, None, None, :, 0]
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
    x = x + block.ls1(attention.proj(mixed.transpose(1, 2).reshape(batch, count, -1)))
    return x, key.mean(1)


def _merge(x: Tensor, sizes: Tensor | None, keys: Tensor, r: int, prefix: int) -> tuple[Tensor, Tensor]:
    """Bipartite soft matching (section 3): the r best edges from one half of the patches to the other merge.

    Returns:
        class tokens, what is left of the one half, and the other half; their ``batch x n x 1`` sizes.
    """
    unit = F.normalize(keys[:, prefix:], dim=-1)
    best, target = (unit[:, 1::2] @ unit[:, 0::2].transpose(1, 2)).max(dim=-1)
    order = best.argsort(dim=-1, descending=True)
    moved, kept = order[:, :r, None], order[:, r:, None]
    into = target[..., None].gather(1, moved)
    if sizes is None:
        sizes = torch.ones_like(x[..., :1])

    def join(values: Tensor) -> Tensor:
        wide = (-1, -1, values.shape[-1])
        sources, destinations = values[:, prefix + 1 :: 2], values[:, prefix::2]
        summed = destinations.scatter_add(1, into.expand(wide), sources.gather(1, moved.expand(wide)))
        return torch.cat((values[:, :prefix], sources.gather(1, kept.expand(wide)), summed), dim=1)

    total = join(sizes)
    return join(x * sizes) / total, total
