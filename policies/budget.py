"""What a request may cost."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

from thinwire.csi import Csi
from thinwire.errors import BudgetError, InvalidRequestError
from thinwire.records import Count, Positive, Share, record


@record("budget")
class Budget:
    """Limits on one request; what is None is not limited, and a budget without any limit is valid.

    The channel is bounded either by ``channel_uses`` or by a bandwidth for a time, never by both.

    Attributes:
        channel_uses: complex symbols, all parts of a frame together.
        bandwidth_hz: channel uses per second.
        airtime_ms: for how long, in milliseconds.
        edge_gmacs: 10^9 multiply-accumulates on the device, on average.
        min_accuracy: accuracy at the current SNR, 0 to 1.

    Raises:
        InvalidRequestError: a limit is out of range, or the two forms are mixed or incomplete.
    """

    channel_uses: Count | None = None
    bandwidth_hz: Positive | None = None
    airtime_ms: Positive | None = None
    edge_gmacs: Positive | None = None
    min_accuracy: Share | None = None

    def __post_init__(self) -> None:
        if self.channel_uses is not None and (self.bandwidth_hz is not None or self.airtime_ms is not None):
            raise InvalidRequestError(
                "a budget has either channel_uses or bandwidth_hz with airtime_ms, got both: "
                f"channel_uses {self.channel_uses}, bandwidth_hz {self.bandwidth_hz}, airtime_ms {self.airtime_ms}"
            )
        if (self.bandwidth_hz is None) != (self.airtime_ms is None):
            given, missing = (
                ("bandwidth_hz", "airtime_ms") if self.airtime_ms is None else ("airtime_ms", "bandwidth_hz")
            )
            raise InvalidRequestError(f"budget.{given} says nothing without {missing}")

    @classmethod
    def on_link(cls, symbol_rate_hz: float, **limits: Any) -> "Budget":
        """A budget on a link; an airtime without a bandwidth counts at the link's symbol rate.

        Args:
            symbol_rate_hz: channel uses per second of the link, as far as is known now.
            limits: the attributes.

        Raises:
            InvalidRequestError: as for `Budget`.
        """
        given = {name for name, value in limits.items() if value is not None}
        if "airtime_ms" in given and not given & {"channel_uses", "bandwidth_hz"}:
            limits["bandwidth_hz"] = symbol_rate_hz
        return cls(**limits)

    @property
    def cap(self) -> int | None:
        """The most channel uses of a frame: ``floor(bandwidth_hz * airtime_ms / 1000)`` in the second form.

        None when nothing bounds them.
        """
        if self.bandwidth_hz is None or self.airtime_ms is None:
            return self.channel_uses
        # In floating point 100 kHz for 0.29 ms is 28.999 uses; the decimals as they were written give 29.
        return int(Fraction(str(self.bandwidth_hz)) * Fraction(str(self.airtime_ms)) / 1000)

    def beside_pilots(self, csi: Csi) -> "Budget":
        """What is left for the payload of a frame beside its pilots; this budget where there are none, or no cap.

        Raises:
            BudgetError: the pilots leave nothing.
        """
        if self.cap is None or not csi.count:
            return self
        payload = csi.payload_within(self.cap)
        if not payload:
            raise BudgetError(
                f"got {self.cap} channel uses, of which the pilots ({csi.text}) leave none for the payload"
            )
        return replace(self, channel_uses=payload, bandwidth_hz=None, airtime_ms=None)
