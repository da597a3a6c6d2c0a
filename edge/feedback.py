"""What the device knows of the average SNR: the estimate that the proxy stamps on results."""


class SnrFeedback:
    """The latest estimate of each link.

    Args:
        nominal_db: average SNR in dB that is assumed of a link that has said nothing yet.
    """

    def __init__(self, nominal_db: float) -> None:
        self._nominal_db = nominal_db
        self._latest_db: dict[str, float] = {}

    def report(self, link_id: str, snr_db: float) -> None:
        """Take in the estimate, in dB, that came with a result."""
        self._latest_db[link_id] = snr_db

    def snr_db(self, link_id: str) -> float:
        """Average SNR in dB to assume now."""
        return self._latest_db.get(link_id, self._nominal_db)
