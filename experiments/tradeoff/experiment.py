"""Accuracy against compute and against channel uses: the shipped front beside simpler ways."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from experiments.harness.experiment import Experiment
from experiments.harness.report import Cell, Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, fronts_of
from experiments.tradeoff.savings import (
    Cost,
    Judged,
    Saving,
    best_of,
    channel_uses,
    cheapest,
    edge_gmacs,
    saving,
    share_of,
)
from offline.data.sources import SELECT
from offline.measure.baselines import Baselines, Candidate
from offline.measure.meter import PolicyMeter
from policies.policy import Policy
from policies.record import Objectives
from thinwire.channels import Channel

CHANNEL = Channel("awgn", 10.0)
USES = (96, 38, 19, 9, 4, 2)
GMACS = (0.1, 0.09, 0.08, 0.07, 0.06)
LOSSES = (0.005, 0.01, 0.02)
SELECT_IMAGES = 2000
OURS = "searched"
# Of all numbers of tokens per layer: close where accuracy begins to fall.
TOME_R = (2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32)
HEADLINE = ("chosen on", "change on *select*", "change on test", "edge GMACs, %", "tokens, %", "uses")


@dataclass(frozen=True)
class Family:
    """The members of a family and what they gave on *select*, in one order."""

    names: list[str]
    select: list[Objectives]

    def within(self, budget: float, cost: Cost) -> str | None:
        """The most accurate member within a budget; None if none is."""
        fitting = [index for index, one in enumerate(self.select) if cost(one) <= budget]
        best = max(fitting, key=lambda index: self.select[index].accuracy, default=None)
        return None if best is None else self.names[best]

    def cheapest(self, loss: float, cost: Cost) -> str | None:
        """The member of least cost within a loss; None if none is."""
        found = cheapest(self.select, loss, cost)
        return None if found is None else self.names[found]

    def best(self) -> list[str]:
        """The members that no other dominates."""
        return [self.names[index] for index in best_of(self.select)]


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    families: dict[str, Family] = {}
    every = _candidates(setting, SELECT)
    for name, figures in _measured(setting, SELECT, every).items():
        family = families.setdefault(every[name].family, Family([], []))
        family.names.append(name)
        family.select.append(figures)
    budgets: dict[str, tuple[Cost, Sequence[float]]] = {
        "channel uses": (lambda one: one.channel_uses_p95, USES),
        "edge GMACs": (edge_gmacs, GMACS),
    }
    chosen = {
        title: [{name: family.within(budget, cost) for name, family in families.items()} for budget in values]
        for title, (cost, values) in budgets.items()
    }
    least = [
        (loss, name, family.cheapest(loss, channel_uses), family.cheapest(loss, edge_gmacs))
        for loss in LOSSES
        for name, family in families.items()
    ]
    best = {name: family.best() for name, family in families.items() if name != OURS}
    wanted = {*families[OURS].names, *(name for names in best.values() for name in names)}
    wanted |= {name for rows in chosen.values() for row in rows for name in row.values() if name is not None}
    wanted |= {name for row in least for name in row[2:] if name is not None}
    # The test images judge what was chosen, and nothing else.
    test = _measured(
        setting, "test", {name: one for name, one in _candidates(setting, "test").items() if name in wanted}
    )
    select = {name: one for family in families.values() for name, one in zip(family.names, family.select, strict=True)}
    unmerged = max(families["unmerged"].select, key=edge_gmacs)
    front = families[OURS].names
    tables = [_within(title, budgets[title][1], rows, test) for title, rows in chosen.items()]
    tables.append(_least(least, test))
    tables.append(_savings({name: [Judged(select[one], test[one]) for one in names] for name, names in best.items()},
                           [Judged(select[one], test[one]) for one in front]))  # fmt: skip
    tables.append(_headline(front, select, test, share_of(unmerged), unmerged))
    panels = {
        "over channel uses": [_points(name, family, channel_uses) for name, family in families.items()],
        "over edge MMACs": [_points(name, family, edge_gmacs, 1000) for name, family in families.items()],
    }
    plot = Plot("all", "cost", "change in accuracy on select, points", panels, log_x=True, scatter=True)
    above = [100 * (select[name].accuracy_change - one.accuracy_change) for name, one in test.items()]
    shift = sum(above) / len(above)
    remark = f"Changes on *select* are {shift:.2f} points above those on the test images, in the mean."
    return Report(tables, [plot], [remark])


def _candidates(setting: Setting, split: str) -> dict[str, Candidate]:
    """What can be measured on one split, by name."""
    evaluator = setting.evaluator(split=split, limit=SELECT_IMAGES if split == SELECT else None)
    meter = PolicyMeter(evaluator, [CHANNEL], setting.seed, split)
    front = fronts_of(evaluator.bundle).nearest(CHANNEL)
    # Policies of the same thresholds share the work of the blocks when they come one after another.
    policies = sorted((one.policy for one in front.policies), key=lambda policy: (policy.thresholds, policy.id))

    def objectives_of(policy: Policy) -> Objectives:
        return meter.measure(policy)[0].objectives

    ours = [Candidate(OURS, {"id": policy.id}, partial(objectives_of, policy)) for policy in policies]
    simpler = [one for one in Baselines(meter).candidates() if one.parameters.get("r", TOME_R[0]) in TOME_R]
    candidates = [*ours, *simpler][:: 20 if setting.quick else 1]
    return {f"{one.family} {one.parameters}": one for one in candidates}


def _measured(setting: Setting, split: str, candidates: dict[str, Candidate]) -> dict[str, Objectives]:
    def fields(candidate: Candidate) -> dict[str, Any]:
        return asdict(candidate.measure())

    return {
        name: Objectives(**setting.kept(f"{split} {name}", partial(fields, one))) for name, one in candidates.items()
    }


def _change(one: Objectives) -> Estimate:
    return Estimate.percent(one.accuracy_change, one.accuracy_change_se)


def _within(
    cost: str, budgets: Sequence[float], rows: Sequence[dict[str, str | None]], test: dict[str, Objectives]
) -> Table:
    cells = [
        {f"at most, {cost}": f"{budget:g}"} | {family: name and _change(test[name]) for family, name in row.items()}
        for budget, row in zip(budgets, rows, strict=True)
    ]
    title = f"Change on the test images, points, of each family's best on *select* within a budget of {cost}"
    return Table(title, cells, digits=dict.fromkeys(rows[0], 2))


def _least(rows: Iterable[tuple[float, str, str | None, str | None]], test: dict[str, Objectives]) -> Table:
    cells = [
        {
            "within, on *select*": f"{100 * loss:g} points",
            "family": family,
            **_choice(("fewest uses", "at GMACs", "its change"), test.get(fewest_uses or "")),
            **_choice(("at uses", "fewest GMACs", "change of that"), test.get(fewest_gmacs or "")),
        }
        for loss, family, fewest_uses, fewest_gmacs in rows
    ]
    digits = {"at GMACs": 4, "fewest GMACs": 4, "its change": 2, "change of that": 2}
    return Table(
        "Each family's cheapest within a loss on *select*, on the test images (changes in points)", cells, digits
    )


def _choice(columns: Sequence[str], one: Objectives | None) -> dict[str, Cell]:
    values = (None, None, None) if one is None else (one.channel_uses, one.edge_gmacs, _change(one))
    return dict(zip(columns, values, strict=True))


def _savings(best: dict[str, list[Judged]], front: Sequence[Judged]) -> Table:
    rows: list[dict[str, Cell]] = []
    for family, members in best.items():
        uses = saving(front, members, channel_uses, edge_gmacs)
        gmacs = saving(front, members, edge_gmacs, channel_uses)
        rows.append({"family": family, "best members": len(members), **_saved("uses", uses), **_saved("GMACs", gmacs)})
    title = "What the front saves against each family's best, as accurate on *select* and at no more of the other cost"
    return Table(title, rows, {f"{cost} saved, %": 0 for cost in ("uses", "GMACs")} | {
        f"change on test, points ({cost})": 2 for cost in ("uses", "GMACs")})  # fmt: skip


def _saved(cost: str, found: Saving | None) -> dict[str, Cell]:
    columns = (f"{cost} saved, %", f"beaten ({cost})", f"change on test, points ({cost})")
    values = (None, None, None) if found is None else (100 * found.share, found.beaten, 100 * found.gained)
    return dict(zip(columns, values, strict=True))


def _headline(
    front: Sequence[str], select: dict[str, Objectives], test: dict[str, Objectives], cost: Cost, unmerged: Objectives
) -> Table:
    rows: list[dict[str, Cell]] = []
    for title, seen in (("*select*", select), ("the test images", test)):
        found = cheapest([seen[name] for name in front], LOSSES[0], cost)
        row: dict[str, Cell] = {"chosen on": title}
        if found is not None:
            on_select, on_test = select[front[found]], test[front[found]]
            row |= {
                "change on *select*": _change(on_select),
                "change on test": _change(on_test),
                "edge GMACs, %": 100 * on_test.edge_gmacs / unmerged.edge_gmacs,
                "tokens, %": 100 * on_test.tokens / unmerged.tokens,
                "uses": on_test.channel_uses,
            }
        rows.append(dict.fromkeys(HEADLINE) | row)
    title = "The policy within half a point whose shares of compute and of tokens, together, are the least"
    return Table(title, rows, {"change on *select*": 2, "change on test": 2})


def _points(name: str, family: Family, cost: Cost, scale: float = 1) -> Curve:
    members = sorted((scale * cost(one), 100 * one.accuracy_change) for one in family.select)
    return Curve(name, [cost for cost, _ in members], [change for _, change in members])


EXPERIMENT = Experiment(
    name="tradeoff",
    title="Accuracy against compute and against channel uses",
    about=f"""
The bundle `cifar10`, AWGN at 10 dB: the policies of the shipped front for this channel, and beside them no merging at
every rate, one threshold for all layers, ToMe with a fixed number per layer, the pooled token alone, the logits as
symbols and the label as QPSK. A searched policy may have a limit on the tokens, which merges further what leaves the
last layer; in families that are called *limited*, one threshold and ToMe have one of 1, 4 or 12 tokens, too, so that
what the limit gains is not taken for a gain of the thresholds. Changes are paired with the unmerged reference.

Everything was measured on {SELECT_IMAGES:,} images of *select*, which the plot shows; what that chooses was measured on
the test images, which the tables quote (5,000). The budget of uses is of the 95% quantile. Savings: for each of a
family's best members, which no other of it dominates, the cheapest policy is taken that is as accurate on *select* (or
as accurate as the unmerged reference, where that is less) and costs no more of the other resource. The table has the
mean over the members; one that no policy beats counts as nothing saved.

The paper reports the accuracy of its unmodified ViT-B (ImageNet) at 30% fewer FLOPs and under 20% of the
communication. This is CIFAR-10 on a model of 1.3 M parameters with the stem as a third of its compute, so that shares
are not comparable; [policies.md](policies.md) says how the fronts were searched.
""",
    run=run,
    data=("cifar10-test.tar", "cifar10-train.tar"),
)
