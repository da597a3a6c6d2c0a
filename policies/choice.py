"""What a request may cost, and the policy it gets: the most accurate that fits, for a channel like the one at hand."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from policies.budget import Budget
from policies.front import Front
from policies.fronts import Fronts
from policies.policy import STANDARD_ERRORS, MeasuredPolicy, Policy
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.errors import BudgetError, UnknownPolicyError

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

    def advice(self, policies: Sequence[MeasuredPolicy]) -> str:
        """What was asked and the nearest of these policies, rounded so that asking for it succeeds."""
        nearest = min(policies, key=lambda measured: self.sign * self.measure(measured))
        value = self.sign * math.ceil(self.sign * self.measure(nearest) * 1e4) / 1e4
        extreme = "least" if self.sign > 0 else "most"
        return f"got {self.name} {self.bound}, the {extreme} that would do is {value:.10g} ({nearest.policy.id})"


def one_token_uses(symbols_per_token: int, prefix_tokens: int) -> int:
    """Channel uses of the smallest frame: the class and register tokens if any are sent, else one patch."""
    return max(prefix_tokens, 1) * symbols_per_token


def choose(fronts: Sequence[Front], budget: Budget, snr_db: float, minimum_uses: int) -> MeasuredPolicy:
    """The policy that a budget gets, of fronts of one channel model.

    The first front with a policy that meets the budget serves. A policy fits the cap if the 95% quantile of its channel
    uses does, and its accuracy is the one at ``snr_db``, whatever SNR its front was found for: so both mean the same on
    every front of the model.

    Of the front's policies that fit, the one with the highest accuracy wins; equal accuracies go to fewer mean channel
    uses, then to fewer GMACs, then to the lower id. One exception: if the winner is sensitive at this SNR (below its
    ``sensitive_below_db``, where it loses faster than the unmerged reference does), the best of those that fit and are
    not sensitive takes its place, provided that its accuracy is within `STANDARD_ERRORS` of the winner's (standard
    errors of the difference of the two accuracies, taken as independent). So a sensitive policy serves where nothing
    else fits, or where it was measured to be better all the same; what is given up for robustness is within the noise.

    Args:
        fronts: at least one, in order of preference.
        budget: the limits.
        snr_db: the current average SNR in dB.
        minimum_uses: channel uses of one token at the smallest rate; a smaller cap fits no frame at all.

    Raises:
        BudgetError: no policy of any front meets the budget; the message says what would.
        InvalidRequestError: the SNR is not finite.
    """
    policies = [measured for front in fronts for measured in front.policies]
    if budget.cap is not None and budget.cap < minimum_uses:
        least = min(measured.objectives.channel_uses_p95 for measured in policies)
        raise BudgetError(
            f"got {budget.cap} channel uses, under the cost of one token ({minimum_uses}); "
            f"the least that would do is {max(least, minimum_uses)}"
        )
    limits = _limits(budget, snr_db)
    for front in fronts:
        fitting = [measured for measured in front.policies if all(limit.met_by(measured) for limit in limits)]
        if fitting:
            return _best(fitting, snr_db)
    raise BudgetError(f"no policy of bundle {fronts[0].bundle_name} meets the budget: {_advice(policies, limits)}")


def _best(fitting: Sequence[MeasuredPolicy], snr_db: float) -> MeasuredPolicy:
    def rank(measured: MeasuredPolicy) -> tuple[float, float, float, str]:
        figures = measured.objectives
        return -measured.accuracy_at(snr_db), figures.channel_uses, figures.edge_gmacs, measured.policy.id

    best = min(fitting, key=rank)
    robust = min((one for one in fitting if not one.is_sensitive_at(snr_db)), key=rank, default=best)
    error = math.hypot(best.accuracy_se_at(snr_db), robust.accuracy_se_at(snr_db))
    return robust if best.accuracy_at(snr_db) - robust.accuracy_at(snr_db) <= STANDARD_ERRORS * error else best


def resolve(fronts: Fronts, policy: str, budget: Budget, channel: Channel, prefix_tokens: int) -> MeasuredPolicy:
    """The policy that serves a request, as it was measured on the front that it is taken from.

    "auto" is chosen from the fronts of one channel model, that of the front nearest to the channel: from that front, or
    from the next nearest if no policy of it meets the budget, and so on; see `Fronts.nearest_first` and `choose`. An id
    is taken from the nearest front that holds it, of whatever model. It overrides the choice and the limits on compute
    and accuracy, never the cap.

    Args:
        fronts: the policies.
        policy: "auto", or an id.
        budget: the limits.
        channel: the current channel.
        prefix_tokens: class and register tokens that are sent.

    Raises:
        BudgetError: no policy meets the budget, or the cap is under the cost of one token.
        UnknownPolicyError: no front has a policy of that id.
    """
    ordered = fronts.nearest_first(channel)
    if policy == AUTO:
        alike = [front for front in ordered if front.channel.model == ordered[0].channel.model]
        smallest = min(measured.policy.symbols_per_token for front in alike for measured in front.policies)
        return choose(alike, budget, channel.snr_db, one_token_uses(smallest, prefix_tokens))
    held = {measured.channel: measured for measured in fronts.get(policy)}
    measured = next(held[front.channel] for front in ordered if front.channel in held)
    least = one_token_uses(measured.policy.symbols_per_token, prefix_tokens)
    if budget.cap is not None and budget.cap < least:
        raise BudgetError(
            f"got {budget.cap} channel uses, under the cost of one token of policy {measured.policy.id}; "
            f"the least that would do is {least}"
        )
    return measured


@dataclass(frozen=True)
class Choice:
    """What serves a request.

    Attributes:
        id: of the policy; "none" for the unmerged reference.
        policy: the policy.
        cap: the most payload symbols of the frame, which leave room for its pilots in the budget; None: no cap.
        front: channel of the front that the policy was taken from; None for the unmerged reference.
    """

    id: str
    policy: Policy
    cap: int | None
    front: Channel | None = None


def choose_for(bundle: Bundle, fronts: Fronts | None, asked: str, budget: Budget, channel: Channel) -> Choice:
    """The policy for a request of a bundle.

    Args:
        bundle: whose unmerged reference "none" stands for; the highest rate, where it has none.
        fronts: its policies; None where none were found: then "none" is all there is, which "auto" gets if it meets the
            budget.
        asked: "none" (nothing merged, reference rate; the cap still holds), "auto", or an id; see `resolve`.
        budget: the limits.
        channel: the current channel. Its pilots come off the budget's channel uses before anything is chosen: policies
            were measured without any.

    Raises:
        BudgetError: no policy meets the budget, or the cap is under the cost of one token.
        UnknownPolicyError: no front has a policy of that id.
    """
    payload = budget.beside_pilots(channel.csi)
    try:
        return _choose_for(bundle, fronts, asked, payload, channel)
    except BudgetError as error:
        if payload is budget:
            raise
        note = f"of the {budget.cap} channel uses the pilots ({channel.csi.text}) leave {payload.cap} for the payload"
        raise BudgetError(f"{error}; {note}") from None


def _choose_for(bundle: Bundle, fronts: Fronts | None, asked: str, budget: Budget, channel: Channel) -> Choice:
    if asked == UNMERGED:
        return Choice(asked, _unmerged(bundle), budget.cap)
    if fronts is None:
        return _without_fronts(bundle, asked, budget)
    measured = resolve(fronts, asked, budget, channel, bundle.prefix_tokens)
    return Choice(measured.policy.id, measured.policy, budget.cap, measured.channel)


def _unmerged(bundle: Bundle) -> Policy:
    """At the highest rate where nothing was measured."""
    rate = bundle.reference.symbols_per_token if bundle.reference else max(bundle.codec.rates)
    return Policy.unmerged(bundle.steps, rate)


def _without_fronts(bundle: Bundle, asked: str, budget: Budget) -> Choice:
    if asked != AUTO:
        raise UnknownPolicyError(
            f"bundle {bundle.name} has no policies, so there is no {asked[:80]!r}: ask for {UNMERGED!r}, or for "
            f"{AUTO!r} with a budget that the unmerged model meets"
        )
    policy = _unmerged(bundle)
    uses = (bundle.prefix_tokens + bundle.patches) * policy.symbols_per_token
    unknown = [name for name in ("edge_gmacs", "min_accuracy") if getattr(budget, name) is not None]
    if unknown:
        raise BudgetError(f"bundle {bundle.name} has no policies: nothing was measured that {unknown[0]} could go by")
    if budget.cap is not None and budget.cap < uses:
        raise BudgetError(
            f"bundle {bundle.name} has no policies but {UNMERGED!r}, the unmerged model: got {_name_of_cap(budget)} "
            f"{budget.cap}, the least that would do is {uses}"
        )
    return Choice(UNMERGED, policy, budget.cap)


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


def _advice(policies: Sequence[MeasuredPolicy], limits: Sequence[_Limit]) -> str:
    alone = []
    for limit in limits:
        others = [m for m in policies if all(other.met_by(m) for other in limits if other is not limit)]
        if others:
            alone.append(limit.advice(others))
    if alone:
        return "; or ".join(alone)
    # Relaxing no single limit is enough: each that some policy fails is compared with all of them.
    failing = [limit for limit in limits if not all(limit.met_by(measured) for measured in policies)]
    return "several limits fail together: " + "; ".join(limit.advice(policies) for limit in failing)
