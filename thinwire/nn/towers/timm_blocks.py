"""The blocks of timm's vision transformers, each as an attention half and an MLP half.

Written out rather than called, since merging needs keys, values and a bias per key, and merged tokens need rotary
positions of their own. What a module holds (gates, inner norms, scales) is read from it.
"""

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Attention, AttentionRope, DiffAttention
from timm.models.eva import EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import (
    Block,
    DiffParallelScalingBlock,
    ParallelScalingBlock,
    ParallelThingsBlock,
    ResPostBlock,
)
from torch import Tensor, nn

from thinwire.nn.attention import Attended, attend
from thinwire.nn.towers.rotary import turn

Turned = tuple[Tensor, Tensor] | None
ATTENTIONS = (Attention, DiffAttention, EvaAttention, AttentionRope)
# Attention and MLP of one norm's output, summed at once: the whole block stands in its first half.
AT_ONCE = (ParallelScalingBlock, DiffParallelScalingBlock)
BLOCKS = (Block, ResPostBlock, ParallelThingsBlock, EvaBlock, EvaBlockPostNorm, *AT_ONCE)


def check_timm_block(block: Any) -> None:
    """Check that a block is one that can be cut into halves.

    Raises:
        ValueError: it is another class than those of `BLOCKS`, or its attention than those of `ATTENTIONS`.
    """
    if type(block) not in BLOCKS:
        raise ValueError(f"expected timm's own blocks, got {type(block).__name__}")
    for attention in _attentions(block):
        if type(attention) not in ATTENTIONS:
            raise ValueError(f"expected timm's own attention, got {type(attention).__name__}")


def _attentions(block: Any) -> list[Any]:
    if isinstance(block, ParallelThingsBlock):
        return [branch.attn for branch in block.attns]
    return [] if isinstance(block, AT_ONCE) else [block.attn]


def attention_half(block: Any, x: Tensor, bias: Tensor | None, turned: Turned = None) -> Attended:
    """``batch x n x D`` tokens plus the attention branch, and its keys and values; rotary keys before they turn.

    Args:
        bias: as `thinwire.nn.attention.key_bias` gives it.
        turned: sines and cosines of each token's rotary position.
    """
    if isinstance(block, ParallelThingsBlock):
        parts = [(branch, _attend(branch.attn, branch.norm(x), bias, turned)) for branch in block.attns]
        output = x + torch.stack([branch.ls(part.output) for branch, part in parts]).sum(0)
        keys, values = (torch.cat([part[which] for _, part in parts], dim=1) for which in (1, 2))
        return Attended(output, keys, values)
    if isinstance(block, AT_ONCE):
        return _at_once(block, x, bias)
    is_post = isinstance(block, ResPostBlock | EvaBlockPostNorm)
    attended = _attend(block.attn, x if is_post else block.norm1(x), bias, turned)
    branch = attended.output
    if is_post:
        branch = block.norm1(branch)
    elif isinstance(block, EvaBlock):
        branch = branch if block.gamma_1 is None else block.gamma_1 * branch
    else:
        branch = block.ls1(branch)
    return attended._replace(output=x + branch)


def mlp_half(block: Any, x: Tensor) -> Tensor:
    """``batch x n x D`` tokens plus the MLP branch; as they are where that stands in the first half."""
    if isinstance(block, AT_ONCE):
        return x
    if isinstance(block, ParallelThingsBlock):
        branch = torch.stack([branch.ls(branch.mlp(branch.norm(x))) for branch in block.ffns]).sum(0)
    elif isinstance(block, ResPostBlock | EvaBlockPostNorm):
        branch = block.norm2(block.mlp(x))
    elif isinstance(block, EvaBlock):
        branch = block.mlp(block.norm2(x))
        branch = branch if block.gamma_2 is None else block.gamma_2 * branch
    else:
        branch = block.ls2(block.mlp(block.norm2(x)))
    output: Tensor = x + branch
    return output


def half_widths(block: Any) -> tuple[int, int, int, int]:
    """MACs per token of the attention's projections and of the MLP, width of all values, width of one head's."""
    if isinstance(block, AT_ONCE):
        width = block.in_split[-1]
        return _linear(block), 0, width, width // block.num_heads
    if isinstance(block, ParallelThingsBlock):
        attention = block.attns[0].attn
        count = len(block.attns)
        return _linear(block.attns), _linear(block.ffns), count * int(attention.attn_dim), int(attention.head_dim)
    attention = block.attn
    width = attention.proj.in_features
    return _linear(attention), _linear(block.mlp), width, width // attention.num_heads


def _linear(module: nn.Module) -> int:
    return sum(one.in_features * one.out_features for one in module.modules() if isinstance(one, nn.Linear))


def _attend(attention: Any, x: Tensor, bias: Tensor | None, turned: Turned) -> Attended:
    if isinstance(attention, Attention):
        return attend(attention, x, bias)
    if isinstance(attention, DiffAttention):
        query, key, value = attention.qkv(x).chunk(3, dim=-1)
        mixed, key, value = _differential(attention, query, key, value, bias)
        return Attended(attention.proj(attention.norm(mixed)), key, value)
    return _rotary(attention, x, bias, turned)


def _rotary(attention: Any, x: Tensor, bias: Tensor | None, turned: Turned) -> Attended:
    parts: tuple[Any, ...]
    if attention.qkv is None:
        parts = (attention.q_proj(x), attention.k_proj(x), attention.v_proj(x))
    elif isinstance(attention, EvaAttention) and attention.q_bias is not None:
        biases = torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))
        parts = F.linear(x, attention.qkv.weight, biases).chunk(3, dim=-1)
    else:
        parts = attention.qkv(x).chunk(3, dim=-1)
    query, key, value = (part.unflatten(-1, (-1, attention.head_dim)).transpose(1, 2) for part in parts)
    query, key = attention.q_norm(query), attention.k_norm(key)
    groups = getattr(attention, "num_kv_groups", 1)
    if groups > 1:
        key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
    read = key
    if turned is not None:
        query, read = (turn(part, turned, attention.rotate_half) for part in (query, key))
    mixed = F.scaled_dot_product_attention(query, read, value, attn_mask=bias, scale=attention.scale)
    mixed = attention.norm(mixed.transpose(1, 2).flatten(2))
    if attention.gate is not None:
        mixed = mixed * attention.gate(x).sigmoid()
    return Attended(attention.proj(mixed), key, value)


def _differential(
    attention: Any, query: Any, key: Any, value: Any, bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Two attentions over one set of values, the second taken off the first (Ye et al., 2024)."""
    heads, width = attention.num_heads, attention.head_dim
    query, key = (part.unflatten(-1, (2 * heads, width)).transpose(1, 2) for part in (query, key))
    value = value.unflatten(-1, (heads, 2 * width)).transpose(1, 2)
    query, key = attention.q_norm(query), attention.k_norm(key)
    first, second = (
        F.scaled_dot_product_attention(query[:, part::2], key[:, part::2], value, attn_mask=bias, scale=attention.scale)
        for part in (0, 1)
    )
    mixed = attention.sub_norm(first - attention._compute_lambda().type_as(first) * second)
    return (mixed * (1 - attention.lambda_init)).transpose(1, 2).flatten(2), key, value


def _at_once(block: Any, x: Tensor, bias: Tensor | None) -> Attended:
    inner, query, key, value = block.in_proj(block.in_norm(x)).split(block.in_split, dim=-1)
    if block.mlp_bias is not None:
        inner = inner + block.mlp_bias
    if isinstance(block, DiffParallelScalingBlock):
        mixed, key, value = _differential(block, query, key, value, bias)
    else:
        heads = (block.num_heads, block.head_dim)
        query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in (query, key, value))
        query, key = block.q_norm(query), block.k_norm(key)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=block.scale)
        mixed = mixed.transpose(1, 2).flatten(2)
    inner = block.mlp_act(inner)
    if block.out_proj is not None:
        branch = block.out_proj(torch.cat((mixed, inner), dim=-1))
    else:
        branch = block.attn_out_proj(mixed) + block.mlp_out_proj(inner)
    return Attended(x + block.ls(branch), key, value)
