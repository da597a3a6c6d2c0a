"""timm's attention and blocks over token sets of different sizes, with the keys and values that merging looks at."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor


class Attended(NamedTuple):
    """What attention gives: its output ``batch x N x D``, and keys and values ``batch x heads x N x head_dim``."""

    output: Tensor
    keys: Tensor
    values: Tensor


def key_bias(valid: Tensor | None, sizes: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """The bias on the attention logits of each key.

    Args:
        valid: ``batch x N`` bool, false for padding; None where nothing is padded.
        sizes: ``batch x N`` token sizes for proportional attention (Bolya et al., 2023, ToMe, eq. 1), or None.
        dtype: of the result.

    Returns:
        a ``batch x 1 x 1 x N`` tensor to add to the logits, or None where it would be zero.
    """
    if valid is None and sizes is None:
        return None
    if sizes is not None:
        bias = sizes.to(dtype).clamp_min(1e-9).log()
    else:
        assert valid is not None
        bias = torch.zeros(valid.shape, dtype=dtype, device=valid.device)
    if valid is not None:
        bias = bias.masked_fill(~valid, float("-inf"))
    return bias[:, None, None, :]


def attend(attention: Attention, x: Tensor, bias: Tensor | None = None) -> Attended:
    """timm's ``Attention.forward`` in evaluation mode, with a bias per key.

    Args:
        x: ``batch x N x D`` tokens.
        bias: as `key_bias` gives it.
    """
    heads = (attention.num_heads, attention.head_dim)
    # Cut into three before into heads: an export then needs no transposition of all three together.
    query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in attention.qkv(x).chunk(3, dim=-1))
    query, key = attention.q_norm(query), attention.k_norm(key)
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=attention.scale)
    output = attention.norm(output.transpose(1, 2).flatten(2))
    if attention.gate is not None:
        output = output * attention.gate(x).sigmoid()
    return Attended(attention.proj(output), key, value)


def run_block(block: Block, x: Tensor, bias: Tensor | None = None) -> Tensor:
    """timm's ``Block.forward`` in evaluation mode, with a bias per key."""
    x = x + block.ls1(attend(block.attn, block.norm1(x), bias).output)
    output: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
    return output
