"""What is compared: policies of the bundle's front, and lengths that a clip may be heard at."""

from contextlib import suppress
from typing import Any

from experiments.harness.setting import SHARES, chosen, fronts_of
from experiments.speech.ways import Way
from offline.measure.box import SILENCE
from policies.policy import STANDARD_ERRORS, MeasuredPolicy, Policy
from thinwire.bundle import FRONT, Bundle
from thinwire.channels import Channel
from thinwire.errors import BudgetError

UNMERGED = "unmerged"
CHANNEL = Channel("awgn", 10.0)
FEWEST = "fewest uses"
# The length that is measured over SNRs.
OWN_LENGTH = "own length + 5 s"
# Fields of `experiments.speech.ways.Way`, by what they are called; the first is nothing special.
LENGTHS: dict[str, dict[str, Any]] = {
    "": {},
    "own length + 1 s": {"margin_s": 1.0},
    OWN_LENGTH: {"margin_s": 5.0},
    "own length + 10 s": {"margin_s": 10.0},
    "voice only": {"is_gated": True},
    "voice only, own length + 5 s": {"is_gated": True, "margin_s": 5.0},
}
POOLED = (2, 4, 8)

Ways = dict[str, Way]


def ways_of(bundle: Bundle, quick: bool) -> tuple[Ways, list[str]]:
    """Everything that is compared, and the names of what is measured over SNRs and timed as well.

    Args:
        quick: little of it.

    Returns:
        ways by their names, the unmerged model first.
    """
    policies = _policies(bundle)
    lengths = dict(list(LENGTHS.items())[::2]) if quick else LENGTHS
    # On top of a length, one policy shows whether merging still gains.
    merged = next((label for label in policies if FEWEST in label), list(policies)[-1])
    found: Ways = {}
    for length, fields in lengths.items():
        for label, policy in policies.items():
            if not length or label in (UNMERGED, merged):
                found[", ".join(filter(None, (length, label)))] = Way(policy, **fields)
    for width in POOLED[-1:] if quick else POOLED:
        found[f"averages of {width}"] = Way(policies[UNMERGED], pooled=width)
    main = [*policies, f"{OWN_LENGTH}, {UNMERGED}"]
    return found, main[:2] if quick else main


def short(label: str) -> str:
    """The kind of a way, by its name."""
    return next((length for length in sorted(LENGTHS, reverse=True) if length and label.startswith(length)), None) or (
        "averages" if label.startswith("averages") else "whole window"
    )


def _policies(bundle: Bundle) -> dict[str, Policy]:
    """The unmerged reference; silence merged in front and nothing else; what the front has.

    Of the front that is what budgets choose, and what costs least without a loss on *select*, where a loss is what
    chance does not explain, paired with the reference. Without a front there is nothing of it.
    """
    rate = max(bundle.codec.rates) if bundle.reference is None else bundle.reference.symbols_per_token
    found = {UNMERGED: Policy.unmerged(bundle.steps, rate)}
    if bundle.merging.front:
        found["silence merged"] = Policy.create([SILENCE, *[1.0] * bundle.split_layer], rate)
    if bundle.reference is None or not bundle.path(FRONT).exists():
        return found
    for uses in (int(share * bundle.reference.channel_uses) for share in SHARES):
        # A front may have nothing so small.
        with suppress(BudgetError):
            found[f"within {uses} uses"] = chosen(bundle, uses, CHANNEL).policy
    front = fronts_of(bundle).nearest(CHANNEL).policies
    if good := [one for one in front if not _loses(one)]:
        found[FEWEST] = min(good, key=lambda one: (one.objectives.channel_uses, one.policy.id)).policy
        found["least compute"] = min(good, key=lambda one: (one.objectives.edge_gmacs, one.policy.id)).policy
    # One policy may be several of these.
    names: dict[Policy, list[str]] = {}
    for label, policy in found.items():
        names.setdefault(policy, []).append(label)
    return {" = ".join(labels): policy for policy, labels in names.items()}


def _loses(one: MeasuredPolicy) -> bool:
    figures = one.objectives
    return figures.accuracy_change < -STANDARD_ERRORS * figures.accuracy_change_se
