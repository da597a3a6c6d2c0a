"""Where to split: after the last layer or in the middle, under budgets of channel uses and of compute on the device."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.digital.finite_blocklength import capacity
from experiments.harness.experiment import Experiment
from experiments.harness.paired import change
from experiments.harness.report import Curve, Plot, Report, Table
from experiments.harness.setting import Setting
from experiments.split.measured import Found, MeasuredSplit
from offline.measure.cloud_cost import classifier_gmacs
from policies.budget import Budget
from policies.choice import AUTO, UNMERGED
from thinwire.channels import Channel

BUNDLES = ("cifar10", "cifar10-middle")
CHANNELS = (Channel("awgn", 10.0), Channel("awgn", 0.0))
USES = (96, 38, 19, 10, 4, 2)
GMACS = (0.11, 0.08, 0.06, 0.057, 0.0555)
DIGITS = {"edge GMACs": 4, "cloud GMACs": 4, "budget, GMACs": 4}
CHANGE = "less the last layer's, points"


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    splits = [MeasuredSplit(setting, name) for name in BUNDLES]
    tables = [_device(splits)]
    over_uses: dict[str, list[Curve]] = {}
    over_gmacs: dict[str, list[Curve]] = {}
    remarks: list[str] = []
    for channel in CHANNELS:
        by_uses = _by_uses(splits, channel)
        by_gmacs = _by_gmacs(splits, channel)
        trivial = [row for split in splits for row in split.trivial(channel)]
        bounds = _bounds(splits[0], channel)
        tables += [
            Table(f"Within so many channel uses, {channel.name}", by_uses, DIGITS),
            Table(f"Within so many GMACs on the device, {channel.name}", by_gmacs, DIGITS),
            Table(f"Trivial ways, {channel.name}", trivial, DIGITS),
            Table(f"Bounds: what a code at capacity would carry, {channel.name}", bounds, DIGITS),
        ]
        pooled = [row for row in trivial if row["sent"].startswith("pooled")]
        device = [row for row in trivial if not row["sent"].startswith("pooled")]
        over_uses[channel.name] = [
            *_curves(by_uses, "uses"), *_curves(pooled, "uses", "pooled token, "), *_points(device, "uses"),
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


def _device(splits: Sequence[MeasuredSplit]) -> Table:
    rows: list[dict[str, Any]] = []
    for split in splits:
        patches, policies = np.array([split.bundle.patches]), split.fronts.policies
        rows.append(
            {
                "split": split.name,
                "weights on the device, 10^6": split.device_weights() / 1e6,
                "unmerged, edge GMACs": split.evaluator.unmerged_gmacs(),
                "cloud GMACs": float(classifier_gmacs(split.classifier, patches)[0]),
                "policies, least edge GMACs": min(one.objectives.edge_gmacs for one in policies),
                "policies": len({one.policy.id for one in policies}),
                "reference, uses": split.reference,
            }
        )
    digits = {"weights on the device, 10^6": 2, "unmerged, edge GMACs": 4, "cloud GMACs": 4,
              "policies, least edge GMACs": 4}  # fmt: skip
    return Table("What each split asks of device and cloud", rows, digits)


def _by_uses(splits: Sequence[MeasuredSplit], channel: Channel) -> list[dict[str, Any]]:
    rows = []
    for budget in (None, *USES):
        first: Found | None = None
        for split in splits:
            asked = UNMERGED if budget is None else AUTO
            policy = split.chosen(asked, Budget(channel_uses=budget), channel)
            row: dict[str, Any] = {"budget, uses": budget or "unmerged", "split": split.name}
            found = None if policy is None else split.found(policy, channel, budget)
            rows.append(row | _cells(found, split, first))
            first = first or found
    return rows


def _by_gmacs(splits: Sequence[MeasuredSplit], channel: Channel) -> list[dict[str, Any]]:
    rows = []
    for budget in GMACS:
        first: Found | None = None
        for split in splits:
            policy = split.chosen(AUTO, Budget(edge_gmacs=budget), channel)
            row: dict[str, Any] = {"budget, GMACs": budget, "split": split.name}
            found = None if policy is None else split.found(policy, channel)
            rows.append(row | _cells(found, split, first))
            first = first or found
            if policy is not None and split.bundle.split_layer == split.bundle.depth:
                accuracy, gmacs = split.label(policy)
                label = dict.fromkeys(rows[-1]) | {"accuracy, %": accuracy, "edge GMACs": gmacs}
                label["uses"] = float(math.ceil(math.log2(len(split.bundle.labels)) / capacity(channel.snr_db)))
                rows.append(label | {"budget, GMACs": budget, "split": "none: its label, at capacity"})
    return rows


def _cells(found: Found | None, split: MeasuredSplit, first: Found | None) -> dict[str, Any]:
    columns = ("accuracy, %", "tokens", "their deviation", "uses", "of its reference, %", "edge GMACs", "cloud GMACs")
    cells = dict.fromkeys(columns) if found is None else found.cells(split.reference)
    differing = None if found is None or first is None else change(found.right, first.right)
    return cells | {CHANGE: differing}


def _bounds(split: MeasuredSplit, channel: Channel) -> list[dict[str, Any]]:
    return [
        {
            "sent": f"JPEG of quality {quality}, its scan",
            "accuracy, %": accuracy,
            "uses": float(np.ceil(np.array(bits) / capacity(channel.snr_db)).mean()),
            "edge GMACs": 0.0,
        }
        for quality, accuracy, bits in split.pictures()
    ]


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
The bundles `cifar10` (all six layers on the device) and `cifar10-middle` (three on the device, three in the cloud):
the same backbone, byte for byte, each with its own codec and its own fronts. Both meet the same test images, AWGN, and
budgets of channel uses or of GMACs on the device, from which each chooses of its own fronts. A difference is paired
with the last layer's split under the same budget. Beside them what needs no tokens: the pooled token of each split,
the logits as symbols and the label as QPSK from a device that runs the whole model. Two bounds are named so: the label
of a device that runs the whole model, merging as the policy of the last layer's split under the same budget does, sent
by a code at capacity; and JPEG's scan at capacity, headers and tables for free. The paper, as we read
it, splits after the last layer.
""",
    run=run,
    bundles=BUNDLES,
)
