"""Two layers per token: the encoder of the shipped pairs."""

import torch
from torch import Tensor, nn

from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.codec.snr_gate import SnrGate


class MlpEncoder(JsccEncoder):
    """Two linear layers per token, with a gate by SNR and rate between them.

    Args:
        width: D of the tokens.
        hidden: width between the layers.
        max_symbols_per_token: complex symbols at the highest rate.
    """

    def __init__(self, width: int, hidden: int, max_symbols_per_token: int) -> None:
        super().__init__(width, hidden, max_symbols_per_token)
        self.norm = nn.LayerNorm(width)
        self.first = nn.Linear(width + 1, hidden)
        self.gate = SnrGate(hidden, max_symbols_per_token)
        self.second = nn.Linear(hidden, 2 * max_symbols_per_token)

    def symbols(self, x: Tensor, sizes: Tensor, valid: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """See `JsccEncoder`."""
        features = torch.cat((self.norm(x), sizes.log2()[..., None]), dim=-1)
        hidden = nn.functional.gelu(self.gate(self.first(features), snr_db, symbols_per_token))
        symbols: Tensor = self.second(hidden)
        return symbols
