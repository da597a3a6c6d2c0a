"""Accuracy against compute and against channel uses: the shipped front beside simpler ways.

Every family chooses as its user would have to: on *select*. Whoever picks the best of two hundred baselines on the test
images themselves picks their luck with them, and the larger a family, the luckier its best.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from experiments.harness.experiment import Experiment
from experiments.harness.report import Cell, Curve, Estimate, Plot, Report, Table
from experiments.harness.setting import Setting, fronts_of
from offline.data.sources import SELECT
from offline.measure.baselines import Baselines, Candidate
from offline.measure.meter import PolicyMeter
from policies.pareto import non_dominated
from policies.policy import Objectives, Policy
from thinwire.channels import Channel

CHANNEL = Channel("awgn", 10.0)
USES = (96, 38, 19, 9, 4, 2)
GMACS = (0.1, 0.09, 0.08, 0.07, 0.06)
LOSSES = (0.005, 0.01, 0.02)
# A member that loses more is of no interest to anybody.
MOST_LOST = 0.03
SELECT_IMAGES = 2000
OURS = "searched"
# Of all numbers of tokens per layer: close where accuracy begins to fall.
TOME_R = (2, 4, 6, 8, 9, 10, 11, 12, 13, 14, 16, 20, 24, 32)
HEADLINE = ("chosen on", "change on *select*", "change on test", "edge GMACs, %", "tokens, %", "uses")

Cost = Callable[[Objectives], float]
CHANNEL_USES: Cost = attrgetter("channel_uses")
EDGE_GMACS: Cost = attrgetter("edge_gmacs")

# What policies and baselines gave on one split, by their names.
Figures = Mapping[str, Objectives]


def most_accurate(select: Figures, budget: float, cost: Cost) -> str | None:
    """The most accurate member within a budget; None if none is."""
    fitting = [name for name, one in select.items() if cost(one) <= budget]
    return max(fitting, key=lambda name: select[name].accuracy, default=None)


def cheapest(select: Figures, loss: float, cost: Cost) -> str | None:
    """The member of least cost within a loss of accuracy, of equally cheap ones the most accurate; None if none is."""
    near = [name for name, one in select.items() if one.accuracy_change >= -loss]
    return min(near, key=lambda name: (cost(select[name]), -select[name].accuracy), default=None)


def best_of(select: Figures) -> list[str]:
    """Those that no other dominates in accuracy, uses and compute, and that lose at most `MOST_LOST`."""
    near = {name: one for name, one in select.items() if one.accuracy_change >= -MOST_LOST}
    figures = np.array([(one.accuracy, one.channel_uses, one.edge_gmacs) for one in near.values()]).reshape(-1, 3)
    return [name for name, keep in zip(near, non_dominated(figures, (True, False, False)), strict=True) if keep]


class Saving(NamedTuple):
    """What a front saves of one cost against the best members of a family.

    Attributes:
        share: mean share of the cost that is saved, on the test images, in %; one that no policy beats counts as 0.
        beaten: against how many members it saves something.
        gained: mean of what that choice gains in accuracy on the test images, in points.
    """

    share: float | None = None
    beaten: int | None = None
    gained: float | None = None


def saving(
    front: Sequence[str], best: Sequence[str], select: Figures, test: Figures, cost: Cost, other: Cost
) -> Saving:
    """What a front saves of a cost where it is, on *select*, as accurate as a family's best; nothing if that has none.

    For each of these the cheapest policy is taken that is as accurate, or as the unmerged reference if that is less
    (what lies above it is luck, and nobody asks for it), and costs no more of the ``other``; where there is none, the
    family wins: nothing is saved, which counts.
    """
    if not best:
        return Saving()
    shares, gained = [], []
    for name in best:
        one = select[name]
        able = [
            policy
            for policy in front
            if select[policy].accuracy_change >= min(0.0, one.accuracy_change)
            and other(select[policy]) <= other(one)
            and cost(select[policy]) < cost(one)
        ]
        chosen = min(able, key=lambda policy: cost(select[policy]), default=name)
        shares.append(1 - cost(test[chosen]) / cost(test[name]))
        gained.append(test[chosen].accuracy - test[name].accuracy)
    return Saving(100 * float(np.mean(shares)), sum(share > 0 for share in shares), 100 * float(np.mean(gained)))


def share_of(unmerged: Objectives) -> Cost:
    """The cost of the paper's headline: shares of compute and of tokens, so that neither is bought with the other."""
    return lambda figures: figures.edge_gmacs / unmerged.edge_gmacs + figures.tokens / unmerged.tokens


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    every = _candidates(setting, SELECT)
    select = _measured(setting, SELECT, every)
    families: dict[str, dict[str, Objectives]] = {}
    for name, figures in select.items():
        families.setdefault(every[name].family, {})[name] = figures
    budgets: dict[str, tuple[Cost, Sequence[float]]] = {
        "channel uses": (attrgetter("channel_uses_p95"), USES),
        "edge GMACs": (EDGE_GMACS, GMACS),
    }
    chosen = {
        title: [{name: most_accurate(family, budget, cost) for name, family in families.items()} for budget in values]
        for title, (cost, values) in budgets.items()
    }
    least = [
        (loss, name, cheapest(family, loss, CHANNEL_USES), cheapest(family, loss, EDGE_GMACS))
        for loss in LOSSES
        for name, family in families.items()
    ]
    best = {name: best_of(family) for name, family in families.items() if name != OURS}
    front = [*families[OURS]]
    wanted: set[str | None] = {*front, *(name for names in best.values() for name in names)}
    wanted |= {name for rows in chosen.values() for row in rows for name in row.values()}
    wanted |= {name for row in least for name in row[2:]}
    # The test images judge what was chosen, and nothing else.
    judges = {name: one for name, one in _candidates(setting, "test").items() if name in wanted}
    test = _measured(setting, "test", judges)
    unmerged = max(families["unmerged"].values(), key=EDGE_GMACS)
    tables = [
        *(_within(title, budgets[title][1], rows, test) for title, rows in chosen.items()),
        _least(least, test),
        _savings(front, best, select, test),
        _headline(front, select, test, unmerged),
    ]
    panels = {
        "over channel uses": [_points(name, family, CHANNEL_USES) for name, family in families.items()],
        "over edge MMACs": [_points(name, family, EDGE_GMACS, 1000) for name, family in families.items()],
    }
    plot = Plot("all", "cost", "change in accuracy on select, points", panels, log_x=True, scatter=True)
    above = [100 * (select[name].accuracy_change - one.accuracy_change) for name, one in test.items()]
    shift = sum(above) / len(above)
    remark = f"Changes on *select* are {shift:.2f} points above those on the test images, on average."
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


def _within(cost: str, budgets: Sequence[float], rows: Sequence[dict[str, str | None]], test: Figures) -> Table:
    cells = [
        {f"at most, {cost}": f"{budget:g}"} | {family: name and _change(test[name]) for family, name in row.items()}
        for budget, row in zip(budgets, rows, strict=True)
    ]
    title = f"Change on the test images, points, of each family's best on *select* within a budget of {cost}"
    return Table(title, cells, digits=dict.fromkeys(rows[0], 2))


def _least(rows: Iterable[tuple[float, str, str | None, str | None]], test: Figures) -> Table:
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


def _savings(front: Sequence[str], best: Mapping[str, Sequence[str]], select: Figures, test: Figures) -> Table:
    rows: list[dict[str, Cell]] = [{"family": family, "best members": len(members)} for family, members in best.items()]
    digits: dict[str, int] = {}
    for name, cost, other in (("uses", CHANNEL_USES, EDGE_GMACS), ("GMACs", EDGE_GMACS, CHANNEL_USES)):
        columns = (f"{name} saved, %", f"beaten ({name})", f"change on test, points ({name})")
        digits |= {columns[0]: 0, columns[2]: 2}
        for row, members in zip(rows, best.values(), strict=True):
            row |= dict(zip(columns, saving(front, members, select, test, cost, other), strict=True))
    title = "What the front saves against each family's best, as accurate on *select* and at no more of the other cost"
    return Table(title, rows, digits)


def _headline(front: Sequence[str], select: Figures, test: Figures, unmerged: Objectives) -> Table:
    rows: list[dict[str, Cell]] = []
    for title, seen in (("*select*", select), ("the test images", test)):
        row: dict[str, Cell] = {"chosen on": title}
        if found := cheapest({name: seen[name] for name in front}, LOSSES[0], share_of(unmerged)):
            row |= {
                "change on *select*": _change(select[found]),
                "change on test": _change(test[found]),
                "edge GMACs, %": 100 * test[found].edge_gmacs / unmerged.edge_gmacs,
                "tokens, %": 100 * test[found].tokens / unmerged.tokens,
                "uses": test[found].channel_uses,
            }
        rows.append(dict.fromkeys(HEADLINE) | row)
    title = "The policy within half a point whose shares of compute and of tokens, together, are the least"
    return Table(title, rows, {"change on *select*": 2, "change on test": 2})


def _points(name: str, family: Figures, cost: Cost, scale: float = 1) -> Curve:
    members = sorted((scale * cost(one), 100 * one.accuracy_change) for one in family.values())
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
