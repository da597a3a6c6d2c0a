"""Where to split: after the last layer or in the middle, under budgets of channel uses and of compute on the device."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.digital.finite_blocklength import capacity
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Curve, Plot, Report, Table, accuracy, change
from experiments.harness.setting import Setting, beside
from experiments.one_split import Split
from experiments.pictures import uses_of
from policies.budget import Budget
from thinwire.channels import Channel

BUNDLES = ("cifar10", "cifar10-middle")
CHANNELS = (Channel("awgn", 10.0), Channel("awgn", 0.0))
# Of what the unmerged reference of the last layer's split takes.
USES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
GMACS = (0.99, 0.72, 0.54, 0.5, 0.35)
DIGITS = {"edge GMACs": 4, "cloud GMACs": 4, "budget, GMACs": 4}
CHANGE = "less the last layer's, points"


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    splits = [Split(setting, name) for name in beside(getattr(setting.options, "bundle", BUNDLES[0]), BUNDLES)]
    digits = {"weights on the device, 10^6": 2, "unmerged, edge GMACs": 4, "cloud GMACs": 4,
              "policies, least edge GMACs": 4}  # fmt: skip
    tables = [Table("What each split asks of device and cloud", [split.asked() for split in splits], digits)]
    whole = splits[0].evaluator.unmerged_gmacs()
    # By what stands in the table; without a limit the unmerged reference.
    uses = {"unmerged": Budget()} | {
        most: Budget(channel_uses=most) for most in (round(share * splits[0].reference) for share in USES)
    }
    gmacs = {most: Budget(edge_gmacs=most) for most in (float(f"{share * whole:.3g}") for share in GMACS)}
    for split in splits:
        split.measure_ahead(CHANNELS, [*uses.values(), *gmacs.values()])
    over_uses: dict[str, list[Curve]] = {}
    over_gmacs: dict[str, list[Curve]] = {}
    remarks: list[str] = []
    for channel in CHANNELS:
        by_uses = _within("budget, uses", uses, splits, channel)
        by_gmacs = _within("budget, GMACs", gmacs, splits, channel)
        trivial = [row for split in splits for row in split.trivial(channel)]
        bounds: list[dict[str, Any]] = [
            {
                "sent": f"JPEG of quality {quality}, its scan",
                "accuracy, %": accuracy(right),
                "uses": float(uses_of(np.array(bits), channel.snr_db).mean()),
                "edge GMACs": 0.0,
            }
            for quality, right, bits in splits[0].pictures()
        ]
        tables += [
            Table(f"Within so many channel uses, {channel.name}", by_uses, DIGITS),
            Table(f"Within so many GMACs on the device, {channel.name}", by_gmacs, DIGITS),
            Table(f"Trivial baselines, {channel.name}", trivial, DIGITS),
            Table(f"Bounds: what a code at capacity would carry, {channel.name}", bounds, DIGITS),
        ]
        pooled = [row for row in trivial if row["sent"].startswith("pooled")]
        alone = [row for row in trivial if row["sent"].startswith("class")]
        device = [row for row in trivial if row["sent"] in ("logits", "label")]
        over_uses[channel.name] = [
            *_curves(by_uses, "uses"), *_curves(pooled, "uses", "pooled token, "),
            *_curves(alone, "uses", "class token alone, "), *_points(device, "uses"),
        ]  # fmt: skip
        over_gmacs[channel.name] = [*_curves(by_gmacs, "edge GMACs"), *_points(device, "edge GMACs")]
        remarks += _remarks(by_uses, by_gmacs, channel)
    return Report(
        tables=tables,
        plots=[
            Plot("uses", "channel uses", "accuracy, %", over_uses, log_x=True),
            Plot("gmacs", "GMACs on the device", "accuracy, %", over_gmacs),
        ],
        remarks=remarks,
    )


def _within(
    column: str, budgets: Mapping[Any, Budget], splits: Sequence[Split], channel: Channel
) -> list[dict[str, Any]]:
    """What each split makes of each budget, and of a limit on compute, too, a device that sends its label."""
    rows: list[dict[str, Any]] = []
    for title, budget in budgets.items():
        if not any(split.chosen(budget, channel) for split in splits):
            continue
        first: dict[str, Any] | None = None
        for split in splits:
            policy = split.chosen(budget, channel)
            found = None if policy is None else split.found(policy, channel, budget.channel_uses)
            rows.append({
                column: title,
                "split": split.name,
                "accuracy, %": found and accuracy(found["right"]),
                "tokens": found and found["tokens"],
                "their deviation": found and found["tokens_sd"],
                "uses": found and found["uses"],
                "of its reference, %": found and 100 * found["uses"] / split.reference,
                "edge GMACs": found and found["edge"],
                "cloud GMACs": found and found["cloud"],
                CHANGE: found and first and change(found["right"], first["right"]),
            })  # fmt: skip
            first = first or found
            if policy and split.is_last and budget.edge_gmacs is not None:
                share, gmacs = split.label(policy)
                uses = math.ceil(math.log2(len(split.bundle.labels)) / capacity(channel.snr_db))
                label = {column: title, "split": "none: its label, at capacity", "accuracy, %": share}
                rows.append(dict.fromkeys(rows[-1]) | label | {"uses": float(uses), "edge GMACs": gmacs})
    return rows


def _curves(rows: Sequence[dict[str, Any]], x: str, prefix: str = "") -> list[Curve]:
    """A curve per split, of what was measured, from left to right."""
    curves = []
    for name in dict.fromkeys(row["split"] for row in rows):
        chosen = [row for row in rows if row["split"] == name and row["accuracy, %"] is not None]
        chosen.sort(key=lambda row: row[x])
        accuracies = [row["accuracy, %"] for row in chosen]
        curves.append(Curve.through(f"{prefix}{name}", [row[x] for row in chosen], accuracies))
    return curves


def _points(rows: Sequence[dict[str, Any]], x: str) -> list[Curve]:
    return [Curve(row["sent"], [row[x]], [row["accuracy, %"].value]) for row in rows]


def _remarks(by_uses: Sequence[dict[str, Any]], by_gmacs: Sequence[dict[str, Any]], channel: Channel) -> list[str]:
    remarks = []
    for rows, budget in ((by_uses, "budget, uses"), (by_gmacs, "budget, GMACs")):
        compared = [row for row in rows if row[CHANGE] is not None]
        for verb, sign in (("more", 1), ("less", -1)):
            clear = [str(row[budget]) for row in compared if sign * row[CHANGE].value > 1.96 * row[CHANGE].se]
            if clear:
                remarks.append(f"{channel.name}: split in the middle, {verb} accurate beyond 1.96 standard errors "
                               f"under {budget} of {', '.join(clear)}.")  # fmt: skip
    only = {row["budget, GMACs"] for row in by_gmacs if row["accuracy, %"] is not None}
    only -= {row["budget, GMACs"] for row in by_gmacs if row["split"].startswith("none")}
    if only:
        remarks.append(f"{channel.name}: only the split in the middle meets {', '.join(map(str, sorted(only)))} GMACs.")
    return remarks


EXPERIMENT = Experiment(
    name="split",
    title="Split after the last layer, or in the middle",
    about="""
The bundles `{bundle}` (all layers on the device) and `{bundle}-middle` (the first on the device, the others in the
cloud): the same backbone, byte for byte, each with its own codec and its own fronts. Both meet the same test images,
AWGN, and budgets of channel uses or of GMACs on the device, from which each chooses of its own fronts. A difference is
paired with the last layer's split under the same budget. Beside them what needs no tokens: the pooled token of each
split, the logits as symbols and the label as QPSK from a device that runs the whole model. Two rows are marked as
bounds: the label of a device that runs the whole model, merging as the policy of the last layer's split under the same
budget does, sent by a code at capacity; and JPEG's scan at capacity, headers and tables for free. The paper, as we read
it, splits after the last layer.
""",
    run=run,
    bundles=BUNDLES,
    options=BUNDLE | LIMIT,
)
