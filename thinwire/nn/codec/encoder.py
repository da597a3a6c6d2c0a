"""The device's half of the JSCC pair: from tokens to complex symbols of unit mean power."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from thinwire.nn.codec.snr_gate import rate_mask
from thinwire.nn.macs import count_macs


class JsccEncoder(nn.Module, ABC):
    """What all encoders share: rate, power and sizes. What a token becomes is `symbols`, of a class of its own.

    A rate of S sends the first S symbols of each token. A token of size k leaves with sqrt(k) times the amplitude.
    Where the receiver averages tokens by size, that is the allocation of power that makes the noise on the average
    least (minimise sum of k^2 / p over sum of p), and the received energy tells the receiver the size, so that no side
    information is sent.

    To add an architecture, write a class with `symbols` that is built from the same arguments, and name it; see
    `thinwire.nn.codec.encoders`.

    Args:
        width: D of the tokens.
        hidden: width of the hidden layers, as `thinwire.bundle.Codec` has it; for the class to use.
        max_symbols_per_token: complex symbols at the highest rate.

    Attributes:
        attention_width: width of all heads whose products between tokens `symbols` computes, summed over its layers.
            These are quadratic in the tokens, and are counted by this; everything else on a single token.
    """

    attention_width: int = 0

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int) -> None:
        super().__init__()
        self.max_symbols_per_token = max_symbols_per_token
        self.width = width

    @abstractmethod
    def symbols(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """What each token becomes, before rate and power; a frame's must not depend on its batch or its padding.

        Args:
            x: the arguments are those of `pairs`.

        Returns:
            ``batch x N x (2 max_symbols_per_token)``, the parts of each complex symbol in turn.
        """

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
        symbols: Any = self.symbols(x, sizes, valid, snr_db, symbols_per_token)
        symbols = symbols.unflatten(-1, (self.max_symbols_per_token, 2))
        sent = rate_mask(symbols_per_token, self.max_symbols_per_token) & valid[..., None]
        symbols = symbols * (sizes.sqrt()[..., None] * sent)[..., None]
        energy = symbols.square().sum(-1).sum((1, 2))
        count = sent.sum((1, 2))
        pairs: Tensor = symbols * (count / energy.clamp_min(1e-20)).sqrt()[:, None, None, None]
        return pairs

    def macs_per_token(self) -> int:
        """MACs of one token, without products between tokens; the gates', which are per frame, are counted with it."""
        parameter = next(self.parameters())
        one = torch.ones(1, 1, device=parameter.device)
        token = torch.zeros(1, 1, self.width, device=parameter.device)
        return count_macs(self, token, one, one.bool(), one[0], one[0].long())
