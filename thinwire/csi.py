"""What a receiver knows of the channel (channel state information), and what that costs in channel uses."""

from dataclasses import dataclass
from typing import Self

from thinwire import spec
from thinwire.errors import InvalidRequestError

MAX_PILOTS = 64
MAX_EVERY = 2**20


@dataclass(frozen=True)
class _Pilots:
    count: int = 1
    every: int = 0

    def __post_init__(self) -> None:
        spec.within("csi: count", self.count, 1, MAX_PILOTS)
        spec.within("csi: every", self.every, 0, MAX_EVERY)


@dataclass(frozen=True)
class Csi:
    """How a receiver learns of the channel. Make one with `parse`.

    - ``perfect``: it is told every gain and every noise variance.
    - ``pilots:count=P,every=E``: P pilots go ahead of every E symbols of payload (0: once, ahead of the frame), and the
      gain that they show is taken for these E symbols.
    - ``none``: it takes the gain for 1.

    Attributes:
        text: the one of these, without parameters that have their defaults (one pilot, once).
        count: pilots ahead of each block; 0 without pilots.
        every: payload symbols of a block; 0: the whole frame.
    """

    text: str = "perfect"
    count: int = 0
    every: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a text.

        Raises:
            InvalidRequestError: it is none of the three, or a parameter is out of range.
        """
        name, given = spec.parse("csi", text)
        if name == "pilots":
            pilots = spec.build("csi", _Pilots, given)
            return cls(spec.spell(name, pilots), pilots.count, pilots.every)
        if name not in ("perfect", "none") or given:
            raise InvalidRequestError(f"csi must be perfect, none, or like pilots:count=4,every=16, got {text!r}")
        return cls(name)

    def pilot_uses(self, payload: int) -> int:
        """Channel uses of the pilots of a frame of so many payload symbols, at least 1."""
        return self.count * (-(-payload // self.every) if self.every else 1)

    def payload_within(self, uses: int) -> int:
        """The most payload symbols that fit into so many channel uses beside their pilots; 0 if none does."""
        if not self.every:
            return max(0, uses - self.count)
        blocks, rest = divmod(uses, self.every + self.count)
        return blocks * self.every + max(0, rest - self.count)


PERFECT = Csi()
