"""The cloud's half of the JSCC pair: from noisy symbols to tokens and their weights."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from thinwire.equalise import ReceivedTokens
from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import Block
from thinwire.nn.codec.snr_gate import SnrGate, rate_mask
from thinwire.nn.packed import Packing, run_packed


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
        noise, rates = noise_variance[:, None, None], symbols_per_token[:, None, None]
        sent = rate_mask(symbols_per_token, self.max_symbols_per_token) & valid[..., None]
        features = self._features(pairs * sent[..., None], noise, rates, valid.sum(1)[:, None, None])
        hidden = nn.functional.gelu(self.gate(self.first(features), _snr_db(noise_variance), symbols_per_token))
        bias = key_bias(valid, None, hidden.dtype)
        for block in self.blocks:
            hidden = run_block(block, hidden, bias)
        tokens, logits = self._tokens(hidden)
        return tokens, logits.masked_fill(~valid, float("-inf")).softmax(-1)

    def forward_packed(
        self, symbols: Tensor, noise_variance: Tensor, packing: Packing, symbols_per_token: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`forward` without padding, for serving.

        Args:
            symbols: ``T x max_symbols_per_token`` complex64 of all frames, zero beyond the rate.
            noise_variance: of each frame.
            packing: which rows are whose.
            symbols_per_token: of each frame, int64.

        Returns:
            ``T x D`` tokens, and ``T`` estimates of each token's share of the patches.
        """
        owner = packing.owner
        counts = packing.per_set(torch.ones_like(owner))[owner, None]
        features = self._features(
            torch.view_as_real(symbols), noise_variance[owner, None], symbols_per_token[owner, None], counts
        )
        factors = self.gate.factors(_snr_db(noise_variance), symbols_per_token)
        hidden = nn.functional.gelu(self.first(features) * factors[owner])
        for block in self.blocks:
            hidden = run_packed(block, hidden, packing)
        tokens, logits = self._tokens(hidden)
        return tokens, packing.softmax(logits)

    @staticmethod
    def _features(pairs: Tensor, noise: Tensor, rates: Tensor, counts: Tensor) -> Tensor:
        """What the first layer sees of each token; what is not symbols is broadcast against their first dimensions."""
        # The linear MMSE scale keeps a deep fade, where zero forcing blows the noise up, within bounds.
        received = pairs / (1.0 + noise[..., None])
        per_token = pairs.square().sum(-1).sum(-1, keepdim=True) / rates
        # What a token sent, relative to the noise that it is seen through; its share of the frame tells its size.
        relative = torch.log(((per_token - noise) / (1.0 + noise)).clamp_min(0) + 0.05)
        count = counts.to(relative.dtype).log().expand_as(relative)
        return torch.cat((received.flatten(-2), relative, count), dim=-1)

    def _tokens(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.norm(hidden)
        return self.to_token(hidden) * self.std + self.mean, self.to_weight(hidden)[..., 0]


def _snr_db(noise_variance: Tensor) -> Tensor:
    return -10.0 * torch.log10(noise_variance.clamp_min(1e-6))


def decode_frames(
    decoder: JsccDecoder, frames: Sequence[ReceivedTokens], device: torch.device
) -> tuple[Tensor, Tensor, Packing]:
    """Decode frames of any token counts and rates together.

    Returns:
        ``T x D`` tokens of all frames, their ``T`` weights, and which are whose.
    """
    highest = decoder.max_symbols_per_token
    packing = Packing(tuple(len(frame.symbols) for frame in frames), device)
    # The one copy of the symbols on their way from the message into the model.
    rows = np.zeros((sum(packing.counts), highest), dtype=np.complex64)
    start = 0
    for frame in frames:
        tokens, rate = frame.symbols.shape
        rows[start : start + tokens, :rate] = frame.symbols
        start += tokens
    rates = torch.tensor([frame.symbols.shape[1] for frame in frames], device=device)
    noise = torch.tensor([frame.noise_variance for frame in frames], dtype=torch.float32, device=device)
    x, weights = decoder.forward_packed(torch.from_numpy(rows).to(device), noise, packing, rates)
    return x, weights, packing
