"""Which policies need a better channel than the unmerged model does."""

from collections.abc import Sequence
from itertools import pairwise

from policies.record import AccuracyAt

# A fall must exceed both: what chance explains (standard errors), and what anybody would care about (accuracy).
STANDARD_ERRORS = 2.0
LEAST_FALL = 0.01


def sensitive_below(curve: Sequence[AccuracyAt], at_db: float) -> float | None:
    """The highest SNR from which on downwards a policy loses faster than the unmerged reference.

    A policy falls faster where its paired difference from the reference is worse than at ``at_db``, by more than
    `LEAST_FALL` and `STANDARD_ERRORS` (of the difference of the two differences, taken as independent, which errs on
    the safe side: they share their images).

    Args:
        curve: the policy at several SNRs.
        at_db: where it is at home; one of the SNRs of the curve.

    Returns:
        the highest SNR of the curve below which that holds wherever it was measured, or None: it falls no faster, or
        the curve does not hold ``at_db``.
    """
    home = next((point for point in curve if point.snr_db == at_db), None)
    if home is None:
        return None
    found: float | None = None
    points = sorted((point for point in curve if point.snr_db <= at_db), key=lambda point: point.snr_db)
    # From the lowest SNR up: the run of points that fall faster ends at the first that does not.
    for lower, upper in pairwise(points):
        error = (lower.change_se**2 + home.change_se**2) ** 0.5
        if home.change - lower.change <= max(LEAST_FALL, STANDARD_ERRORS * error):
            break
        found = upper.snr_db
    return found
