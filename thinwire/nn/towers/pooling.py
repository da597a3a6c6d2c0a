"""Pooling sets of tokens that stand for different numbers of patches; of unmerged ones, what the libraries compute."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from thinwire.nn.attention import key_bias


def mean_by_weight(x: Tensor, weights: Tensor) -> Tensor:
    """The mean of ``batch x n x D`` tokens by ``batch x n`` weights, zero for padding."""
    shares = weights[..., None]
    return (x * shares).sum(1) / shares.sum(1)


def largest(x: Tensor, valid: Tensor) -> Tensor:
    """The largest value of each channel over the tokens that are there; a merged token counts as one of them."""
    return x.masked_fill(~valid[..., None], float("-inf")).amax(1)


def latent_pool(pool: Any, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """timm's ``AttentionPoolLatent``, whose attention counts a token as often as it has patches."""
    pooled: Tensor = pool(x, attn_mask=key_bias(valid, weights, x.dtype))
    return pooled


def refined_pool(pool: Any, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """timm's ``AttentionPoolPrr``: attention without projections, then the class token or the mean of all."""
    heads = pool.pre_norm(x).unflatten(-1, (pool.num_heads, pool.head_dim)).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=key_bias(valid, weights, x.dtype))
    x = pool.post_norm(mixed.transpose(1, 2).flatten(2))
    return x[:, 0] if pool.pool == "token" else mean_by_weight(x, weights * valid)


def probe_pool(head: Any, x: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
    """transformers' pooling head of SigLIP and SigLIP 2: one learnt query, sizes counted as in `latent_pool`."""
    attention = head.attention
    heads = (attention.num_heads, -1)
    matrices, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    probe = head.probe.expand(x.shape[0], -1, -1)
    query, key, value = (
        torch.unflatten(F.linear(part, matrix, bias), -1, heads).transpose(1, 2)
        for part, matrix, bias in zip((probe, x, x), matrices, biases, strict=True)
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_bias(valid, weights, x.dtype))
    pooled = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    output: Tensor = (pooled + head.mlp(head.layernorm(pooled)))[:, 0]
    return output
