"""A channel, as the device, the simulator and the policies speak of it."""

import math
from dataclasses import dataclass

from thinwire.csi import PERFECT, Csi
from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
class Channel:
    """What the symbols of a frame meet on their way, and what their receiver knows of that.

    Attributes:
        model: a channel model with its parameters, as "awgn" or "rician:k_db=3,coherence=16"; empty: none.
        snr_db: average SNR (Es/N0) in dB.
        csi: what receivers know of the channel.

    Raises:
        InvalidRequestError: the SNR is not finite.
    """

    model: str = "awgn"
    snr_db: float = 10.0
    csi: Csi = PERFECT

    def __post_init__(self) -> None:
        if not math.isfinite(self.snr_db):
            raise InvalidRequestError(f"snr_db must be a finite number, got {self.snr_db}")

    @property
    def name(self) -> str:
        """For people, as "awgn at 10 dB", and what receivers know of it where that is not all."""
        return f"{self.model} at {self.snr_db:g} dB" + ("" if self.csi == PERFECT else f", {self.csi.text}")

    @property
    def family(self) -> str:
        """The model without its parameters, as "rician"."""
        return self.model.partition(":")[0]


NOMINAL = Channel()
"""What a device assumes before it has heard of its link, unless it is told otherwise."""
