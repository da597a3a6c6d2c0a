"""The cloud's half of the JSCC pair: from noisy symbols to tokens and their weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad as pad_last

from cloud.answerer import ReceivedTokens
from cloud.head import pad
from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import Block
from thinwire.nn.snr_gate import SnrGate, rate_mask


class JsccDecoder(nn.Module):
    """A gated layer per token, then transformer blocks across the tokens of the frame.

    Args:
        width: D of the tokens.
        hidden: width of the decoder.
        max_symbols_per_token: complex symbols at the highest rate.
        blocks: transformer blocks.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int, blocks: int = 1) -> None:
        super().__init__()
        self.max_symbols_per_token = max_symbols_per_token
        self.first = nn.Linear(2 * max_symbols_per_token + 2, hidden)
        self.gate = SnrGate(hidden, max_symbols_per_token)
        self.blocks = nn.ModuleList(
            Block(hidden, num_heads=4, mlp_ratio=2.0, qkv_bias=True, init_values=0.1) for _ in range(blocks)
        )
        self.norm = nn.LayerNorm(hidden)
        self.to_token = nn.Linear(hidden, width)
        self.to_weight = nn.Linear(hidden, 1)
        # Statistics of the tokens of the training set, so that the layers work at unit scale.
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(
        self, symbols: Tensor, noise_variance: Tensor, valid: Tensor, symbols_per_token: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode.

        Args:
            symbols: ``batch x N x max_symbols_per_token`` complex64 after equalisation, zero beyond the rate.
            noise_variance: ``batch`` variance of the noise per complex symbol after equalisation.
            valid: ``batch x N`` bool, false for padding.
            symbols_per_token: ``batch`` int64 rates.

        Returns:
            ``batch x N x D`` tokens, and ``batch x N`` estimates of each token's share of the patches (their sum over
            a frame is 1, padding gets 0).
        """
        return self.decode_pairs(torch.view_as_real(symbols), noise_variance, valid, symbols_per_token)

    def decode_pairs(
        self, pairs: Tensor, noise_variance: Tensor, valid: Tensor, symbols_per_token: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decode, in real numbers, which is what an export holds.

        Args:
            pairs: ``batch x N x max_symbols_per_token x 2`` real and imaginary parts; the rest as for `forward`.
        """
        noise = noise_variance[:, None, None]
        sent = rate_mask(symbols_per_token, self.max_symbols_per_token) & valid[..., None]
        # The linear MMSE scale keeps a deep fade, where zero forcing blows the noise up, within bounds.
        received = pairs * sent[..., None] / (1.0 + noise[..., None])
        energy = pairs.square().sum(-1) * sent
        per_token = energy.sum(-1, keepdim=True) / symbols_per_token[:, None, None]
        # What a token sent, relative to the noise that it is seen through; its share of the frame tells its size.
        relative = torch.log(((per_token - noise) / (1.0 + noise)).clamp_min(0) + 0.05)
        count = valid.sum(1).to(received.dtype).log()[:, None, None].expand_as(relative)
        features = torch.cat((received.flatten(-2), relative, count), dim=-1)
        snr_db = -10.0 * torch.log10(noise_variance.clamp_min(1e-6))
        hidden = nn.functional.gelu(self.gate(self.first(features), snr_db, symbols_per_token))
        bias = key_bias(valid, None, hidden.dtype)
        for block in self.blocks:
            hidden = run_block(block, hidden, bias)
        hidden = self.norm(hidden)
        weights = self.to_weight(hidden)[..., 0].masked_fill(~valid, float("-inf")).softmax(-1)
        return self.to_token(hidden) * self.std + self.mean, weights


def decode_frames(
    decoder: JsccDecoder, frames: Sequence[ReceivedTokens], device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Decode frames of any token counts and rates together.

    Returns:
        ``frames x max(N) x D`` tokens, ``frames x max(N)`` weights, and a mask of the same shape, false for padding.
    """
    highest = decoder.max_symbols_per_token
    rates = torch.tensor([frame.symbols.shape[1] for frame in frames], device=device)
    noise = torch.tensor([frame.noise_variance for frame in frames], dtype=torch.float32, device=device)
    padded, valid = pad(
        [pad_last(torch.from_numpy(np.array(frame.symbols)), (0, highest - frame.symbols.shape[1])) for frame in frames]
    )
    padded, valid = padded.to(device), valid.to(device)
    x, weights = decoder(padded, noise, valid, rates)
    return x, weights, valid
