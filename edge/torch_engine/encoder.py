"""The device's half of the JSCC pair: from tokens to complex symbols of unit mean power."""

import torch
from torch import Tensor, nn

from thinwire.nn.macs import count_macs
from thinwire.nn.snr_gate import SnrGate, rate_mask


class JsccEncoder(nn.Module):
    """Two linear layers per token with a gate by SNR and rate; a rate of S sends the first S symbols of each token.

    A token of size k leaves with sqrt(k) times the amplitude. Where the receiver averages tokens by size, that is the
    allocation of power that makes the noise on the average least (minimise sum of k^2 / p over sum of p), and the
    received energy tells the receiver the size, so that no side information is sent.

    Args:
        width: D of the tokens.
        hidden: width of the hidden layer.
        max_symbols_per_token: complex symbols at the highest rate.
    """

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int) -> None:
        super().__init__()
        self.max_symbols_per_token = max_symbols_per_token
        self.width = width
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 1, hidden)
        self.gate = SnrGate(hidden, max_symbols_per_token)
        self.second = nn.Linear(hidden, 2 * max_symbols_per_token)

    def forward(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """Encode; the arguments are those of `pairs`.

        Returns:
            ``batch x N x max_symbols_per_token`` complex64, the pairs of `pairs`.
        """
        return torch.view_as_complex(self.pairs(x, sizes, valid, snr_db, symbols_per_token))

    def pairs(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """Encode, in real numbers, which is what an export holds.

        Args:
            x: ``batch x N x D`` tokens.
            sizes: ``batch x N`` patches in each.
            valid: ``batch x N`` bool, false for padding.
            snr_db: ``batch`` average SNRs that the sender assumes.
            symbols_per_token: ``batch`` int64 rates.

        Returns:
            ``batch x N x max_symbols_per_token x 2`` real and imaginary parts; zero beyond the rate and for padding;
            mean |symbol|^2 of each frame is 1 over the symbols that are sent.
        """
        features = torch.cat((self.norm(x), sizes.log2()[..., None]), dim=-1)
        hidden = nn.functional.gelu(self.gate(self.first(features), snr_db, symbols_per_token))
        symbols = self.second(hidden).unflatten(-1, (self.max_symbols_per_token, 2))
        sent = rate_mask(symbols_per_token, self.max_symbols_per_token) & valid[..., None]
        symbols = symbols * (sizes.sqrt()[..., None] * sent)[..., None]
        energy = symbols.square().sum(-1).sum((1, 2))
        count = sent.sum((1, 2))
        pairs: Tensor = symbols * (count / energy.clamp_min(1e-20)).sqrt()[:, None, None, None]
        return pairs

    def macs_per_token(self) -> int:
        """MACs of one token; the gate's, which are per frame, are counted with it."""
        device = self.second.weight.device
        one = torch.ones(1, 1, device=device)
        token = torch.zeros(1, 1, self.width, device=device)
        return count_macs(self, token, one, one.bool(), one[0], one[0].long())
