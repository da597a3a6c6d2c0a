"""Which measured policies may be the best choice for some budget at some SNR, and which of them are worth serving."""

from collections.abc import Sequence

import numpy as np

from policies.pareto import non_dominated
from policies.policy import MeasuredPolicy

# Of the GMACs: to save less is worth no accuracy, be it within the noise.
LEAST_SAVED = 0.05


def serviceable(measured: Sequence[MeasuredPolicy], snr_db: float) -> tuple[MeasuredPolicy, ...]:
    """Drop the policies that `policies.choice.choose` can do without, whatever the budget and the SNR.

    A policy goes if another is at least as good in all that a choice looks at (GMACs, the 95% quantile of the channel
    uses, the accuracy at every SNR, the SNR below which it is sensitive) and better in something. The accuracies are
    compared at every SNR at which one of the policies was measured: in between they are straight lines. Of policies
    that are equal in all of it, the one that `choose` prefers stays.

    Args:
        measured: at least one policy, all of one bundle and one channel model.
        snr_db: an SNR to compare at in any case, in dB.

    Returns:
        what is left, by rising mean channel uses.
    """
    preferred = sorted(measured, key=lambda m: (m.objectives.channel_uses, m.objectives.edge_gmacs, m.policy.id))
    snrs_db = sorted({snr_db, *(point.snr_db for one in measured for point in one.accuracy_by_snr)})
    table = np.array(
        [
            (
                m.objectives.edge_gmacs,
                m.objectives.channel_uses_p95,
                -np.inf if m.sensitive_below_db is None else m.sensitive_below_db,
                *map(m.accuracy_at, snrs_db),
            )
            for m in preferred
        ]
    )
    kept = non_dominated(table, maximise=(False, False, False, *(True for _ in snrs_db)))
    return tuple(one for one, keep in zip(preferred, kept, strict=True) if keep)


def worth_their_compute(measured: Sequence[MeasuredPolicy], snr_db: float) -> tuple[MeasuredPolicy, ...]:
    """Drop the policies that buy no accuracy with their compute that was measured at this SNR.

    A budget of channel uses leaves the compute open, and a choice takes the highest accuracy, be it by one image: of
    many policies that differ by chance alone it would take whichever chance favoured, at whatever compute. So a policy
    goes if one that stays takes fewer GMACs, by `LEAST_SAVED` or more, and no more channel uses (their mean and their
    95% quantile), and is less accurate than it by one standard error at most (as a tree is pruned: Breiman et al.,
    "Classification and Regression Trees", 1984, section 3.4.3). One that is sensitive at this SNR replaces none that
    is not.

    What is worse than no answer, which has an accuracy of 0, goes as well: a transcript may have more errors than there
    are words.

    Args:
        measured: policies of one front.
        snr_db: the SNR that the front is for, in dB.

    Returns:
        what is left, in its order; all of it, where nothing is better than no answer.
    """

    def replaces(one: MeasuredPolicy, other: MeasuredPolicy) -> bool:
        cheap, dear = one.objectives, other.objectives
        return (
            cheap.edge_gmacs <= (1 - LEAST_SAVED) * dear.edge_gmacs
            and cheap.channel_uses <= dear.channel_uses
            and cheap.channel_uses_p95 <= dear.channel_uses_p95
            and one.is_sensitive_at(snr_db) <= other.is_sensitive_at(snr_db)
            and one.accuracy_at(snr_db) >= other.accuracy_at(snr_db) - other.accuracy_se_at(snr_db)
        )

    kept: list[MeasuredPolicy] = []
    answering = [one for one in measured if one.accuracy_at(snr_db) >= 0] or measured
    # From the cheapest on, so that what replaces stays itself.
    for other in sorted(answering, key=lambda m: m.objectives.edge_gmacs):
        if not any(replaces(one, other) for one in kept):
            kept.append(other)
    return tuple(one for one in measured if one in kept)
