"""What the device knows of its links: what the proxy stamps on results."""


class Feedback:
    """The latest value of one quantity (average SNR in dB, symbol rate in Hz) by link.

    Args:
        nominal: what is assumed of a link that has said nothing yet.
    """

    def __init__(self, nominal: float) -> None:
        self._nominal = nominal
        self._latest: dict[str, float] = {}

    def report(self, link_id: str, value: float) -> None:
        """Take in the value that came with a result."""
        self._latest[link_id] = value

    def latest(self, link_id: str) -> float:
        """What to assume now."""
        return self._latest.get(link_id, self._nominal)
