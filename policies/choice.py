"""Which policy a budget gets: the most accurate of those that fit it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from policies.budget import Budget
from policies.front import Front
from policies.policy import Policy
from policies.record import MeasuredPolicy
from thinwire.bundle import Bundle
from thinwire.errors import BudgetError, BundleError

AUTO = "auto"
UNMERGED = "none"


@dataclass(frozen=True)
class _Limit:
    """One limit of a budget: ``sign * measure(policy) <= sign * bound``."""

    name: str
    bound: float
    sign: int
    measure: Callable[[MeasuredPolicy], float]

    def met_by(self, measured: MeasuredPolicy) -> bool:
        return self.sign * self.measure(measured) <= self.sign * self.bound

    def advice(self, policies: list[MeasuredPolicy]) -> str:
        """What was asked and the nearest of these policies, rounded so that asking for it succeeds."""
        nearest = min(policies, key=lambda measured: self.sign * self.measure(measured))
        value = self.sign * math.ceil(self.sign * self.measure(nearest) * 1e4) / 1e4
        extreme = "least" if self.sign > 0 else "most"
        return f"got {self.name} {self.bound}, the {extreme} that would do is {value:.10g} ({nearest.policy.id})"


def one_token_uses(symbols_per_token: int, prefix_tokens: int) -> int:
    """Channel uses of the smallest frame: the class and register tokens if any are sent, else one patch."""
    return max(prefix_tokens, 1) * symbols_per_token


def choose(front: Front, budget: Budget, snr_db: float, minimum_uses: int) -> MeasuredPolicy:
    """The policy with the highest accuracy at an SNR, of those that meet the budget.

    A policy fits the cap if the 95% quantile of its channel uses does. Equal accuracies go to fewer mean channel uses,
    then to fewer GMACs, then to the lower id.

    Args:
        front: the policies.
        budget: the limits.
        snr_db: the current average SNR in dB.
        minimum_uses: channel uses of one token at the smallest rate; a smaller cap fits no frame at all.

    Raises:
        BudgetError: no policy meets the budget; the message says what would.
        InvalidRequestError: the SNR is not finite.
    """
    if budget.cap is not None and budget.cap < minimum_uses:
        least = min(measured.objectives.channel_uses_p95 for measured in front.policies)
        raise BudgetError(
            f"got {budget.cap} channel uses, under the cost of one token ({minimum_uses}); "
            f"the least that would do is {max(least, minimum_uses)}"
        )
    limits = _limits(budget, snr_db)
    fitting = [measured for measured in front.policies if all(limit.met_by(measured) for limit in limits)]
    if not fitting:
        raise BudgetError(f"no policy of bundle {front.bundle_name} meets the budget: {_advice(front, limits)}")
    return min(
        fitting,
        key=lambda measured: (
            -measured.accuracy_at(snr_db),
            measured.objectives.channel_uses,
            measured.objectives.edge_gmacs,
            measured.policy.id,
        ),
    )


def resolve(
    front: Front, policy: str | None, budget: Budget, snr_db: float, prefix_tokens: int
) -> tuple[MeasuredPolicy, int | None]:
    """The policy that serves a request, and the cap on its frame.

    An id overrides the choice and the limits on compute and accuracy, never the cap.

    Args:
        front: the policies.
        policy: an id, or "auto" or None to `choose`.
        budget: the limits.
        snr_db: the current average SNR in dB.
        prefix_tokens: class and register tokens that are sent.

    Returns:
        the policy, and the most channel uses of the frame (None: no cap).

    Raises:
        BudgetError: no policy meets the budget, or the cap is under the cost of one token.
        UnknownPolicyError: the front has no policy of that id.
        InvalidRequestError: the SNR is not finite.
    """
    if policy is None or policy == AUTO:
        smallest = min(measured.policy.symbols_per_token for measured in front.policies)
        return choose(front, budget, snr_db, one_token_uses(smallest, prefix_tokens)), budget.cap
    measured = front.get(policy)
    least = one_token_uses(measured.policy.symbols_per_token, prefix_tokens)
    if budget.cap is not None and budget.cap < least:
        raise BudgetError(
            f"got {budget.cap} channel uses, under the cost of one token of policy {measured.policy.id}; "
            f"the least that would do is {least}"
        )
    return measured, budget.cap


@dataclass(frozen=True)
class Choice:
    """What serves a request: the policy with its id ("none" for the unmerged reference), and the cap on the frame."""

    id: str
    policy: Policy
    cap: int | None


def choose_for(bundle: Bundle, front: Front | None, asked: str, budget: Budget, snr_db: float) -> Choice:
    """The policy for a request of a bundle.

    Args:
        bundle: whose unmerged reference "none" stands for.
        front: its policies; None will do for "none".
        asked: "none" (nothing merged, reference rate; the cap still holds), "auto", or an id.
        budget: the limits.
        snr_db: the current average SNR in dB.

    Raises:
        BundleError: the bundle lacks the reference, or the front, that was asked for.
        BudgetError: no policy meets the budget, or the cap is under the cost of one token.
        UnknownPolicyError: the front has no policy of that id.
    """
    if asked == UNMERGED:
        if bundle.reference is None:
            raise BundleError(f"bundle {bundle.name} has no unmerged reference: its rate was not measured")
        return Choice(asked, Policy.unmerged(bundle.split_layer, bundle.reference.symbols_per_token), budget.cap)
    if front is None:
        raise BundleError(f"bundle {bundle.name} has no policies")
    measured, cap = resolve(front, asked, budget, snr_db, bundle.prefix_tokens)
    return Choice(measured.policy.id, measured.policy, cap)


def _limits(budget: Budget, snr_db: float) -> list[_Limit]:
    limits = [
        (_name_of_cap(budget), budget.cap, 1, lambda measured: measured.objectives.channel_uses_p95),
        ("edge_gmacs", budget.edge_gmacs, 1, lambda measured: measured.objectives.edge_gmacs),
        ("min_accuracy", budget.min_accuracy, -1, lambda measured: measured.accuracy_at(snr_db)),
    ]
    return [_Limit(name, bound, sign, measure) for name, bound, sign, measure in limits if bound is not None]


def _name_of_cap(budget: Budget) -> str:
    if budget.bandwidth_hz is None:
        return "channel_uses"
    return f"channel_uses (bandwidth_hz {budget.bandwidth_hz} for airtime_ms {budget.airtime_ms})"


def _advice(front: Front, limits: list[_Limit]) -> str:
    alone = []
    for limit in limits:
        others = [m for m in front.policies if all(other.met_by(m) for other in limits if other is not limit)]
        if others:
            alone.append(limit.advice(others))
    if alone:
        return "; or ".join(alone)
    # Relaxing no single limit is enough: each that some policy fails is compared with the whole front.
    failing = [limit for limit in limits if not all(limit.met_by(measured) for measured in front.policies)]
    return "several limits fail together: " + "; ".join(limit.advice(list(front.policies)) for limit in failing)
