"""Analog tokens beside digital ones, labels and pictures, at equal channel uses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.digital.comparison import DESIGN_DB, PICTURES, Comparison, Point
from experiments.harness.experiment import Experiment
from experiments.harness.options import BUNDLE, LIMIT
from experiments.harness.report import Cell, Curve, Estimate, Plot, Report, Table, accuracy, change
from experiments.harness.setting import TEST, TRAIN, Setting
from thinwire.channels import Channel

# Of the unmerged reference's channel uses; and as many as pictures of 32 x 32 take, about the most that a word of 5G's
# code fills.
BUDGETS, MOST_USES = (1 / 8, 1 / 3, 1), 1024
# Every 5 dB, and once more below the SNR that the fixed scheme is made for.
AWGN_DB = (-5.0, 0.0, 5.0, 7.5, 10.0, 15.0, 20.0)
RAYLEIGH_DB = (0.0, 10.0, 20.0)
TEST_IMAGES = 2000
NAMES = {"awgn": "AWGN", "rayleigh": "Rayleigh"}
DRAWN = (
    "analog, auto", "analog, unmerged", "tokens, adaptive", "tokens, fixed", "picture, adaptive", "picture, fixed",
    "tokens, bound",
)  # fmt: skip


def by_method(points: Sequence[Point], uses: int) -> dict[str, dict[Channel, Point]]:
    found: dict[str, dict[Channel, Point]] = {}
    for point in points:
        if point.uses == uses:
            found.setdefault(point.method, {})[point.channel] = point
    return found


def _column(channel: Channel) -> str:
    return f"{NAMES[channel.model]} {channel.snr_db:g} dB"


def accuracy_table(points: Sequence[Point], uses: int, channels: Sequence[Channel]) -> Table:
    rows: list[dict[str, Cell]] = []
    for method, found in by_method(points, uses).items():
        row: dict[str, Cell] = {"method": method, "uses": float(np.mean([one.mean_uses for one in found.values()]))}
        for channel in channels:
            row[_column(channel)] = accuracy(found[channel].right) if channel in found else None
        rows.append(row)
    return Table(f"Accuracy in %, {uses} channel uses", rows)


def schemes_table(points: Sequence[Point], channels: Sequence[Channel]) -> Table:
    rows = [
        {"uses": point.uses, "channel": _column(point.channel), "method": point.method, **point.details}
        for point in points
        if point.details and point.channel in channels and point.method.endswith("adaptive")
    ]
    return Table("What adapts to what", rows)


def plot(points: Sequence[Point], model: str) -> Plot:
    panels = {}
    for uses in dict.fromkeys(point.uses for point in points):
        curves = []
        for method, found in by_method(points, uses).items():
            here = [point for channel, point in found.items() if channel.model == model]
            if method in DRAWN and here:
                accuracies = [accuracy(point.right) for point in here]
                curves.append(Curve.through(method, [point.channel.snr_db for point in here], accuracies))
        panels[f"{NAMES[model]}, {uses} channel uses"] = curves
    return Plot(model, "SNR, dB", "accuracy, %", panels)


def difference(one: Point, other: Point) -> Estimate:
    """Accuracy of one less that of the other on the images of both, in points, with its paired standard error."""
    step = max(one.every, other.every)
    return change(*(point.right[:: step // point.every] for point in (one, other)))


def who_wins(found: dict[str, dict[Channel, Point]], method: str, uses: int) -> str:
    """Where a method differs from the analog policies by more than its 95% interval, in words."""
    parts = []
    for model, name in NAMES.items():
        ahead: dict[str, list[tuple[float, float]]] = {"analog": [], method: []}
        for channel, point in found[method].items():
            if channel.model == model:
                apart = difference(point, found["analog, auto"][channel])
                if abs(apart.value) > 1.96 * apart.se:
                    ahead[method if apart.value > 0 else "analog"].append((channel.snr_db, abs(apart.value)))
        said = [
            f"{who} ahead at {', '.join(f'{snr_db:g}' for snr_db, _ in where)} dB by up to "
            f"{max(points for _, points in where):.1f} points"
            for who, where in ahead.items()
            if where
        ]
        if any(channel.model == model for channel in found[method]):
            parts.append(f"{name}: {'; '.join(said) or 'no difference beyond its 95% interval'}")
    return f"{uses} uses, {method} against analog, auto. {'. '.join(parts)}."


def cliff(found: dict[str, dict[Channel, Point]], uses: int) -> str:
    """What the fixed scheme and the analog policies lose towards lower SNR."""
    falls = []
    for method in ("tokens, fixed", "analog, auto"):
        at = {channel.snr_db: point for channel, point in found[method].items() if channel.model == "awgn"}
        lower = sorted((snr_db for snr_db in at if snr_db < DESIGN_DB), reverse=True)[:4]
        top = accuracy(at[DESIGN_DB].right).value
        falls.append(
            f"{method} stands at {top:.1f}% at {DESIGN_DB:g} dB and at "
            + ", ".join(f"{accuracy(at[snr_db].right).value:.1f} ({snr_db:g} dB)" for snr_db in lower)
        )
    return f"{uses} uses, AWGN, below the SNR that the fixed scheme is made for: {'; '.join(falls)}."


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    reference = setting.bundle.reference
    assert reference is not None
    budgets = [min(MOST_USES, round(share * reference.channel_uses)) for share in BUDGETS]
    budgets = budgets[::2] if setting.quick else sorted({*budgets, MOST_USES})
    awgn = (0.0, 10.0) if setting.quick else AWGN_DB
    rayleigh = (10.0,) if setting.quick else RAYLEIGH_DB
    channels = [Channel("awgn", snr_db) for snr_db in awgn]
    channels += [Channel("rayleigh", snr_db) for snr_db in rayleigh]
    comparison = Comparison(setting, TEST_IMAGES, tuple(budgets), channels)
    points = comparison.points()
    test = comparison.test
    plain = accuracy(test.logits.argmax(axis=1) == test.labels).value
    guess = accuracy(np.equal(test.labels, comparison.guess)).value
    remarks = [
        f"{len(test)} test images, for pictures every {PICTURES[1]}th of them; the plain model is right on "
        f"{plain:.1f}%. Where nothing arrives, the cloud says the class most frequent on select, which is right on "
        f"{guess:.1f}%."
    ]
    for uses in budgets:
        found = by_method(points, uses)
        remarks += [
            who_wins(found, method, uses)
            for method in ("tokens, adaptive", "tokens, fixed", "label", "picture, adaptive", "picture, fixed")
            if method in found
        ]
        remarks.append(cliff(found, uses))
    tables: list[Any] = [accuracy_table(points, uses, channels) for uses in budgets]
    return Report(
        tables=[*tables, schemes_table(points, channels)],
        plots=[plot(points, model) for model in NAMES],
        remarks=remarks,
    )


EXPERIMENT = Experiment(
    name="digital",
    title="Analog tokens beside digital ones",
    about="""
The bundle `{bundle}`, AWGN and Rayleigh fading with one gain a frame, at equal channel uses. Analog: the policy that
the budget chooses, and the unmerged model at the highest rate that fits. Digital: tokens (the JSCC encoder's latents),
tokens as they are, logits, the label, or a JPEG or WebP picture, as bits under 5G's LDPC code and QAM. *Adaptive*
takes for each SNR the modulation, the code rate and the quantiser that are right most often on *select*; *fixed* those
of 10 dB at every SNR, chosen for AWGN on AWGN and for Rayleigh fading on that. *Bound* is no code: the same tokens in
as many bits as the normal approximation of the finite-blocklength capacity allows at a block error rate, with so many
frames lost; of rates from 1e-3 to a half the one that is right most often on *select*. Differences between rows are
paired, on the same images and the same noise. What is compared, and why it is fair: [docs/digital.md](../digital.md).
""",
    run=run,
    data=(TEST, TRAIN),
    options=BUNDLE | LIMIT,
    packages=("sionna",),
)
