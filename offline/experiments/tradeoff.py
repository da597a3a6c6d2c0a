"""Accuracy against compute and against channel uses: the shipped front beside simpler ways."""

from collections.abc import Sequence
from typing import Any

from offline.baselines import Baselines, Candidate
from offline.evaluate import Evaluator
from offline.experiments.experiment import Experiment
from offline.experiments.report import Curve, Estimate, Plot, Report, Table
from offline.experiments.setting import Setting, fronts_of
from offline.meter import PolicyMeter
from offline.sources import SELECT
from policies.record import ChannelProfile, Objectives

CHANNEL = ChannelProfile("awgn", 10.0)
USES = (96, 38, 19, 9, 4, 2)
GMACS = (0.1, 0.09, 0.08, 0.07, 0.06)
SELECT_IMAGES = 2000
OURS = "searched"
# Of all numbers of tokens per layer: close where accuracy begins to fall.
TOME_R = (2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32)

Found = dict[str, dict[str, Any]]


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    found = {split: _measure(setting, split) for split in (SELECT, "test")}
    families = list(dict.fromkeys(one["family"] for one in found["test"].values()))
    tables = [
        _table("channel uses", "channel_uses_p95", USES, families, found),
        _table("edge GMACs", "edge_gmacs", GMACS, families, found),
    ]
    panels = {
        "over channel uses": [_points(family, "channel_uses", found["test"]) for family in families],
        "over edge GMACs times 1000": [_points(family, "edge_gmacs", found["test"], 1000) for family in families],
    }
    plot = Plot("all", "cost", "change in accuracy, points", panels, log_x=True, scatter=True)
    return Report(tables, [plot])


def _measure(setting: Setting, split: str) -> Found:
    """Every policy and baseline on one split: family and objectives, by name."""
    limit = SELECT_IMAGES if split == SELECT else None
    evaluator = setting.evaluator(split=split, limit=limit)
    meter = PolicyMeter(evaluator, [CHANNEL], setting.seed, split)
    return {
        name: setting.kept(f"{split} {name}", lambda one=one: {"family": one.family, **_fields(one.measure())})
        for name, one in _candidates(evaluator, meter, setting.quick).items()
    }


def _candidates(evaluator: Evaluator, meter: PolicyMeter, quick: bool) -> dict[str, Candidate]:
    front = fronts_of(evaluator.bundle).nearest(CHANNEL.model, CHANNEL.snr_db)
    # Policies of the same thresholds share the work of the blocks when they come one after another.
    policies = sorted((one.policy for one in front.policies), key=lambda policy: (policy.thresholds, policy.id))
    ours = [
        Candidate(OURS, {"id": policy.id}, lambda policy=policy: meter.measure(policy)[0].objectives)
        for policy in policies
    ]
    every = 20 if quick else 1
    simpler = [one for one in Baselines(meter).candidates() if one.family != "tome" or one.parameters["r"] in TOME_R]
    candidates = [*ours, *simpler][::every]
    return {f"{one.family} {one.parameters}": one for one in candidates}


def _fields(objectives: Objectives) -> dict[str, float]:
    names = ("accuracy_change", "accuracy_change_se", "channel_uses", "channel_uses_p95", "edge_gmacs", "tokens")
    return {name: float(getattr(objectives, name)) for name in names}


def _table(cost: str, field: str, budgets: Sequence[float], families: Sequence[str], found: dict[str, Found]) -> Table:
    rows = []
    for budget in budgets:
        row: dict[str, Any] = {f"at most, {cost}": f"{budget:g}"}
        for family in families:
            fitting = {
                name: one["accuracy_change"]
                for name, one in found[SELECT].items()
                if one["family"] == family and one[field] <= budget and name in found["test"]
            }
            best = found["test"][max(fitting, key=lambda name: fitting[name])] if fitting else None
            row[family] = best and Estimate(100 * best["accuracy_change"], 100 * best["accuracy_change_se"])
        rows.append(row)
    title = (
        f"Change in accuracy on the test images, points, of each family's best on *select* within a budget of {cost}"
    )
    return Table(title, rows, digits=dict.fromkeys(families, 2))


def _points(family: str, field: str, found: Found, scale: float = 1) -> Curve:
    members = sorted(
        (scale * one[field], 100 * one["accuracy_change"]) for one in found.values() if one["family"] == family
    )
    return Curve(family, [cost for cost, _ in members], [change for _, change in members])


EXPERIMENT = Experiment(
    name="tradeoff",
    title="Accuracy against compute and against channel uses",
    about=f"""
The bundle `cifar10`, AWGN at 10 dB: the policies of the shipped front for this channel, and beside them no merging at
every rate, one threshold for all layers, ToMe with a fixed number per layer, the pooled token alone, the logits as
symbols and the label as QPSK. Changes are paired with the unmerged reference. What a table quotes was chosen on
{SELECT_IMAGES:,} images of *select* and measured on the test images; the plot shows everything on the test images.

The paper reports the accuracy of its unmodified ViT-B (ImageNet) at 30% fewer MACs and under 20% of the tokens. This is
CIFAR-10 on a model of 1.3 M parameters with the stem as a third of its compute, so that shares are not comparable;
[policies.md](policies.md) has the searched fronts, and the paper's headline asked of them.
""",
    run=run,
    data=("cifar10-test.tar", "cifar10-train.tar"),
)
