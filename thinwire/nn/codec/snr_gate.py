"""A gate on channels by SNR and rate (after Xu et al., 2022, "Wireless image transmission using deep source channel
coding with attention modules")."""

import torch
from torch import Tensor, nn

# Deep fades and clean links lie outside any trained range; the gate saturates there instead of extrapolating.
SNR_LIMITS_DB = (-20.0, 30.0)


class SnrGate(nn.Module):
    """Scales each channel by a factor in (0, 2) that depends on SNR and rate.

    Args:
        channels: width of what is gated.
        max_symbols_per_token: the highest rate.
        hidden: width of the gate's own hidden layer.
    """

    def __init__(self, channels: int, max_symbols_per_token: int, hidden: int = 32) -> None:
        super().__init__()
        self.max_symbols_per_token = max_symbols_per_token
        self.layers = nn.Sequential(nn.Linear(2, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """Gate ``batch x N x channels`` by ``batch`` SNRs in dB and ``batch`` rates."""
        return x * self.factors(snr_db, symbols_per_token)[:, None, :]

    def factors(self, snr_db: Tensor, symbols_per_token: Tensor) -> Tensor:
        """``batch x channels`` factors for ``batch`` SNRs in dB and ``batch`` rates."""
        snr = snr_db.clamp(*SNR_LIMITS_DB) / 10.0
        rate = torch.log2(symbols_per_token.to(snr.dtype)) / max(1.0, float(self.max_symbols_per_token)) ** 0.5
        factors: Tensor = 2.0 * self.layers(torch.stack((snr, rate), dim=-1))
        return factors


def rate_mask(symbols_per_token: Tensor, max_symbols_per_token: int) -> Tensor:
    """Which symbols a rate sends: ``batch x 1 x max_symbols_per_token`` bool, the first S of each row."""
    positions = torch.arange(max_symbols_per_token, device=symbols_per_token.device)
    return (positions < symbols_per_token[:, None])[:, None, :]
