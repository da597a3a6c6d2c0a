"""Which measured policies may be the best choice for some budget at some SNR."""

from collections.abc import Sequence

import numpy as np

from policies.pareto import non_dominated
from policies.policy import MeasuredPolicy


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
