"""Attention and blocks against timm's own forward, padding against its absence, and bias against a plain loop."""

import math

import pytest
import torch
from timm.layers import Attention
from torch import nn

from thinwire.nn.attention import attend, key_bias, run_block
from thinwire.nn.backbone import Block

WIDTH, HEADS = 24, 3


def shaken(module, seed=0):
    """The module in float64 and evaluation mode, with no parameter left at its start (zero biases, unit scales)."""
    generator = torch.Generator().manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return module


def tokens(batch=2, count=7, seed=1):
    return torch.randn(batch, count, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


OPTIONS = [
    {},
    {"qkv_bias": True},
    {"proj_bias": False},
    {"qk_norm": True, "norm_layer": nn.LayerNorm},
    {"scale_norm": True, "norm_layer": nn.LayerNorm},
    {"gated": True},
    {"gated": True, "qkv_bias": True, "qk_norm": True, "scale_norm": True, "norm_layer": nn.LayerNorm},
    {"attn_head_dim": 5},
    {"dim_out": 16},
    {"attn_drop": 0.5, "proj_drop": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("fused", [True, False])
@torch.inference_mode()
def test_attention_is_timms(options, fused):
    attention = shaken(Attention(WIDTH, HEADS, **options))
    attention.fused_attn = fused
    x = tokens()
    attended = attend(attention, x)
    torch.testing.assert_close(attended.output, attention(x), rtol=1e-10, atol=1e-12)
    # The metric of merging: these must be what attention itself used.
    head_dim = options.get("attn_head_dim", WIDTH // HEADS)
    assert attended.keys.shape == attended.values.shape == (2, HEADS, 7, head_dim)
    _, key, value = attention.qkv(x).chunk(3, dim=-1)
    for head in range(HEADS):
        span = slice(head * head_dim, (head + 1) * head_dim)
        torch.testing.assert_close(attended.values[:, head], value[..., span])
        torch.testing.assert_close(attended.keys[:, head], attention.k_norm(key[..., span]))


@pytest.mark.parametrize("mask", ["valid", "sizes", "both"])
@torch.inference_mode()
def test_a_bias_is_timms_mask(mask):
    attention = shaken(Attention(WIDTH, HEADS, qkv_bias=True))
    attention.fused_attn = False
    valid = torch.tensor([[True] * 5 + [False] * 2, [True] * 7]) if mask != "sizes" else None
    sizes = torch.tensor([[1, 2, 3, 1, 1, 9, 4], [5, 1, 1, 1, 2, 2, 1]]) if mask != "valid" else None
    bias = key_bias(valid, sizes, torch.float64)
    torch.testing.assert_close(attend(attention, tokens(), bias).output, attention(tokens(), attn_mask=bias))


BLOCKS = [
    {},
    {"qkv_bias": True, "init_values": 0.3},
    {"qk_norm": True, "scale_attn_norm": True, "scale_mlp_norm": True},
    {"drop_path": 0.5, "proj_drop": 0.5, "attn_drop": 0.5},
    {"mlp_ratio": 2.5, "act_layer": nn.ReLU, "proj_bias": False},
]


@pytest.mark.parametrize("options", BLOCKS)
@torch.inference_mode()
def test_a_block_is_timms(options):
    block = shaken(Block(WIDTH, HEADS, **options))
    torch.testing.assert_close(run_block(block, tokens()), block(tokens()), rtol=1e-10, atol=1e-12)


@torch.inference_mode()
def test_a_gated_block_is_timms():
    block = Block(WIDTH, HEADS)
    block.attn = Attention(WIDTH, HEADS, gated=True)
    shaken(block)
    torch.testing.assert_close(run_block(block, tokens()), block(tokens()), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("filling", [0.0, 1e6, -1e6])
@torch.inference_mode()
def test_padding_changes_nothing(filling):
    blocks = [shaken(Block(WIDTH, HEADS, qkv_bias=True, init_values=0.5), seed) for seed in range(3)]
    counts = [7, 1, 4]
    x = tokens(3)
    sizes = torch.randint(1, 9, (3, 7), generator=torch.Generator().manual_seed(2))
    valid = torch.arange(7) < torch.tensor(counts)[:, None]
    padded = x.masked_fill(~valid[..., None], filling)
    for proportional in (False, True):
        together = padded
        alone = [x[row : row + 1, :count] for row, count in enumerate(counts)]
        for block in blocks:
            together = run_block(block, together, key_bias(valid, sizes if proportional else None, x.dtype))
            alone = [
                run_block(block, part, key_bias(None, sizes[row : row + 1, : part.shape[1]], x.dtype))
                if proportional
                else run_block(block, part)
                for row, part in enumerate(alone)
            ]
        for row, part in enumerate(alone):
            torch.testing.assert_close(together[row, : counts[row]], part[0], rtol=1e-9, atol=1e-9)
        assert together.isfinite().all()


@torch.inference_mode()
def test_proportional_attention_against_a_loop():
    attention = shaken(Attention(WIDTH, HEADS, qkv_bias=True))
    x, sizes = tokens(1, 5), [1, 4, 2, 7, 1]
    attended = attend(attention, x, key_bias(None, torch.tensor([sizes]), x.dtype))
    query, key, value = (part.reshape(5, HEADS, -1) for part in attention.qkv(x)[0].chunk(3, dim=-1))
    expected = torch.zeros(5, WIDTH, dtype=torch.float64)
    for token in range(5):
        for head in range(HEADS):
            logits = [float(query[token, head] @ key[other, head]) / math.sqrt(WIDTH / HEADS) for other in range(5)]
            weights = [size * math.exp(logit) for size, logit in zip(sizes, logits, strict=True)]
            mixed = sum(weight * value[other, head] for other, weight in enumerate(weights)) / sum(weights)
            expected[token, head * WIDTH // HEADS : (head + 1) * WIDTH // HEADS] = mixed
    torch.testing.assert_close(attended.output[0], attention.proj(expected), rtol=1e-10, atol=1e-12)


@torch.inference_mode()
def test_a_token_of_size_three_is_three_tokens():
    # What proportional attention is for: to the others, a merged token counts as often as what it stands for.
    attention = shaken(Attention(WIDTH, HEADS))
    x = tokens(1, 4)
    merged = attend(attention, x, key_bias(None, torch.tensor([[1, 3, 1, 1]]), x.dtype)).output
    repeated = attend(attention, x[:, [0, 1, 1, 1, 2, 3]]).output
    torch.testing.assert_close(merged, repeated[:, [0, 1, 4, 5]], rtol=1e-10, atol=1e-12)


def test_bias_by_hand():
    assert key_bias(None, None, torch.float32) is None
    valid = torch.tensor([[True, False], [True, True]])
    inf = float("inf")
    for dtype in (torch.float32, torch.float64):
        bias = key_bias(valid, None, dtype)
        assert bias.dtype == dtype
        assert bias.tolist() == [[[[0, -inf]]], [[[0, 0]]]]
        bias = key_bias(None, torch.tensor([[1, 2], [4, 1]]), dtype)
        expected = torch.tensor([[[[0, math.log(2)]]], [[[math.log(4), 0]]]], dtype=dtype)
        torch.testing.assert_close(bias, expected)
        bias = key_bias(valid, torch.tensor([[2, 7], [4, 1]]), dtype)
        assert bias[0, 0, 0, 1] == -inf
        assert bias[0, 0, 0, 0] == pytest.approx(math.log(2))


def test_padding_may_have_no_size():
    bias = key_bias(torch.tensor([[True, False]]), torch.tensor([[3.0, 0.0]]), torch.float64)
    assert bias.tolist() == [[[[math.log(3.0), -float("inf")]]]]
    assert key_bias(None, torch.tensor([[0.0]]), torch.float64).isfinite().all()
