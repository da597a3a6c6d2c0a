"""What the channel of a link is like."""

import math
from dataclasses import dataclass, replace

from channel.models import registry
from thinwire.channels import Channel
from thinwire.csi import PERFECT, Csi
from thinwire.errors import InvalidRequestError
from thinwire.v1 import control_pb2, link_pb2

MIN_SNR_DB = -30.0
MAX_SNR_DB = 60.0
# One symbol in a quarter of an hour; it keeps every airtime finite.
MIN_SYMBOL_RATE_HZ = 1e-3


@dataclass(frozen=True)
class Profile(Channel):
    """The channel of a link: its model is kept in its canonical spelling, its SNR is from -30 to 60 dB.

    Attributes:
        seed: seed of the keyed noise, an unsigned 64-bit integer.
        symbol_rate_hz: channel uses per second.
        inject_airtime: hold every frame for its airtime; otherwise airtime is only accounted.
        frame_loss: probability that a transmission of a frame is lost on the air, at least 0 and below 1.

    Raises:
        InvalidRequestError: a value is out of range, or there is no such model or parameter.
    """

    seed: int = 0
    symbol_rate_hz: float = 10_000.0
    inject_airtime: bool = False
    frame_loss: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "model", registry.canonical(self.model))
        if not MIN_SNR_DB <= self.snr_db <= MAX_SNR_DB:
            raise InvalidRequestError(f"snr_db must be from {MIN_SNR_DB:g} to {MAX_SNR_DB:g}, got {self.snr_db}")
        if not 0 <= self.seed < 2**64:
            raise InvalidRequestError(f"seed must be from 0 to 2^64 - 1, got {self.seed}")
        if not MIN_SYMBOL_RATE_HZ <= self.symbol_rate_hz < math.inf:
            raise InvalidRequestError(
                f"symbol_rate_hz must be finite and at least {MIN_SYMBOL_RATE_HZ:g}, got {self.symbol_rate_hz}"
            )
        if not 0 <= self.frame_loss < 1:
            raise InvalidRequestError(f"frame_loss must be at least 0 and below 1, got {self.frame_loss}")

    @classmethod
    def from_proto(cls, message: control_pb2.Profile) -> "Profile":
        """The profile that a message describes; every field counts as given.

        Raises:
            InvalidRequestError: as for `Profile`.
        """
        return cls(
            model=message.model,
            snr_db=message.snr_db,
            seed=message.seed,
            symbol_rate_hz=message.symbol_rate_hz,
            inject_airtime=message.inject_airtime,
            frame_loss=message.frame_loss,
            csi=Csi.parse(message.csi) if message.csi else PERFECT,
        )

    def to_proto(self) -> control_pb2.Profile:
        """The profile as a message."""
        return control_pb2.Profile(
            model=self.model,
            snr_db=self.snr_db,
            seed=self.seed,
            symbol_rate_hz=self.symbol_rate_hz,
            inject_airtime=self.inject_airtime,
            frame_loss=self.frame_loss,
            csi=self.csi.text,
        )

    def asked(self, request: link_pb2.ChannelRequest) -> "Profile":
        """This profile with what one frame asks for in place of its own model, CSI, SNR and seed.

        Raises:
            InvalidRequestError: as for `Profile`.
        """
        if not request.ByteSize():
            return self
        return replace(
            self,
            model=request.model or self.model,
            csi=Csi.parse(request.csi) if request.csi else self.csi,
            snr_db=request.snr_db if request.HasField("snr_db") else self.snr_db,
            seed=request.seed if request.HasField("seed") else self.seed,
        )

    def airtime_s(self, channel_uses: int) -> float:
        """Seconds for which that many channel uses occupy the channel: ``uses / symbol rate``."""
        return channel_uses / self.symbol_rate_hz
