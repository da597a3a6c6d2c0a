"""What the device knows of its links: what the proxy stamps on results."""

from typing import Generic, TypeVar

Value = TypeVar("Value")


class Feedback(Generic[Value]):
    """The latest value of one quantity (average SNR in dB, symbol rate in Hz, channel model) by link.

    Args:
        nominal: what is assumed of a link that has said nothing yet.
    """

    def __init__(self, nominal: Value) -> None:
        self._nominal = nominal
        self._latest: dict[str, Value] = {}

    def report(self, link_id: str, value: Value) -> None:
        """Take in the value that came with a result."""
        self._latest[link_id] = value

    def latest(self, link_id: str) -> Value:
        """What to assume now."""
        return self._latest.get(link_id, self._nominal)
