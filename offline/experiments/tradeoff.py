"""Accuracy against compute and against channel uses: the shipped front beside simpler ways."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from offline.baselines import Baselines, Candidate
from offline.experiments.experiment import Experiment
from offline.experiments.report import Curve, Estimate, Plot, Report, Table
from offline.experiments.setting import Setting, fronts_of
from offline.meter import PolicyMeter
from offline.sources import SELECT
from policies.policy import Policy
from policies.record import ChannelProfile, Objectives

CHANNEL = ChannelProfile("awgn", 10.0)
USES = (96, 38, 19, 9, 4, 2)
GMACS = (0.1, 0.09, 0.08, 0.07, 0.06)
SELECT_IMAGES = 2000
OURS = "searched"
# Of all numbers of tokens per layer: close where accuracy begins to fall.
TOME_R = (2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32)

# By name: family and objectives.
Found = dict[str, dict[str, Any]]


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    every = _candidates(setting, SELECT)
    select: Found = {name: setting.kept(f"{SELECT} {name}", partial(_fields, one)) for name, one in every.items()}
    families = list(dict.fromkeys(one["family"] for one in select.values()))
    axes: dict[str, tuple[str, Sequence[float]]] = {
        "channel uses": ("channel_uses_p95", USES),
        "edge GMACs": ("edge_gmacs", GMACS),
    }
    chosen = {
        cost: [{family: _best(select, family, field, budget) for family in families} for budget in budgets]
        for cost, (field, budgets) in axes.items()
    }
    wanted = {name for rows in chosen.values() for row in rows for name in row.values() if name is not None}
    # The test images judge what was chosen, and nothing else.
    judged = {name: one for name, one in _candidates(setting, "test").items() if name in wanted}
    test: Found = {name: setting.kept(f"test {name}", partial(_fields, one)) for name, one in judged.items()}
    tables = [_table(cost, axes[cost][1], rows, test) for cost, rows in chosen.items()]
    panels = {
        "over channel uses": [_points(family, "channel_uses", select) for family in families],
        "over edge MMACs": [_points(family, "edge_gmacs", select, 1000) for family in families],
    }
    plot = Plot("all", "cost", "change in accuracy on select, points", panels, log_x=True, scatter=True)
    return Report(tables, [plot])


def _best(select: Found, family: str, field: str, budget: float) -> str | None:
    """Name of a family's most accurate member within a budget; None if none is."""
    fitting = [name for name, one in select.items() if one["family"] == family and one[field] <= budget]
    return max(fitting, key=lambda name: select[name]["accuracy_change"], default=None)


def _candidates(setting: Setting, split: str) -> dict[str, Candidate]:
    """What can be measured on one split, by name."""
    evaluator = setting.evaluator(split=split, limit=SELECT_IMAGES if split == SELECT else None)
    meter = PolicyMeter(evaluator, [CHANNEL], setting.seed, split)
    front = fronts_of(evaluator.bundle).nearest(CHANNEL.model, CHANNEL.snr_db)
    # Policies of the same thresholds share the work of the blocks when they come one after another.
    policies = sorted((one.policy for one in front.policies), key=lambda policy: (policy.thresholds, policy.id))

    def objectives_of(policy: Policy) -> Objectives:
        return meter.measure(policy)[0].objectives

    ours = [Candidate(OURS, {"id": policy.id}, partial(objectives_of, policy)) for policy in policies]
    simpler = [one for one in Baselines(meter).candidates() if one.family != "tome" or one.parameters["r"] in TOME_R]
    candidates = [*ours, *simpler][:: 20 if setting.quick else 1]
    return {f"{one.family} {one.parameters}": one for one in candidates}


def _fields(candidate: Candidate) -> dict[str, Any]:
    objectives = candidate.measure()
    names = ("accuracy_change", "accuracy_change_se", "channel_uses", "channel_uses_p95", "edge_gmacs", "tokens")
    return {"family": candidate.family, **{name: float(getattr(objectives, name)) for name in names}}


def _table(cost: str, budgets: Sequence[float], rows: Sequence[dict[str, str | None]], test: Found) -> Table:
    families = list(rows[0])
    cells: list[dict[str, Any]] = [
        {f"at most, {cost}": f"{budget:g}"} | {family: name and _change(test[name]) for family, name in row.items()}
        for budget, row in zip(budgets, rows, strict=True)
    ]
    title = f"Change on the test images, points, of each family's best on *select* within a budget of {cost}"
    return Table(title, cells, digits=dict.fromkeys(families, 2))


def _change(one: dict[str, Any]) -> Estimate:
    return Estimate(100 * one["accuracy_change"], 100 * one["accuracy_change_se"])


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
symbols and the label as QPSK. Changes are paired with the unmerged reference. Everything was measured on
{SELECT_IMAGES:,} images of *select*, which the plot shows; what that chooses within a budget was measured on the test
images, which a table quotes. The budget of uses is of the 95% quantile.

The paper reports the accuracy of its unmodified ViT-B (ImageNet) at 30% fewer FLOPs and under 20% of the
communication. This is CIFAR-10 on a model of 1.3 M parameters with the stem as a third of its compute, so that shares
are not comparable; [policies.md](policies.md) has the searched fronts, and the paper's headline asked of them.
""",
    run=run,
    data=("cifar10-test.tar", "cifar10-train.tar"),
)
