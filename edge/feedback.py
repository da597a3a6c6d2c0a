"""What the device knows of the average SNR: the estimate that the proxy stamps on results."""

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Heard:
    """One estimate.

    Attributes:
        snr_db: average SNR (Es/N0) in dB.
        at_s: when it came, by the monotonic clock, in seconds.
    """

    snr_db: float
    at_s: float


class SnrFeedback:
    """The latest estimate of each link.

    Args:
        nominal_db: average SNR in dB that is assumed of a link that has said nothing yet.
    """

    def __init__(self, nominal_db: float) -> None:
        self._nominal_db = nominal_db
        self._latest: dict[str, Heard] = {}

    def report(self, link_id: str, snr_db: float) -> None:
        """Take in the estimate, in dB, that came with a result."""
        self._latest[link_id] = Heard(snr_db, time.monotonic())

    def latest(self, link_id: str) -> Heard | None:
        """What was heard last, or None."""
        return self._latest.get(link_id)

    def snr_db(self, link_id: str) -> float:
        """Average SNR in dB to assume now."""
        heard = self._latest.get(link_id)
        return self._nominal_db if heard is None else heard.snr_db
