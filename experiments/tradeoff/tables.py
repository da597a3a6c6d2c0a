"""Tables and curves of what was chosen on *select* and judged on the test images."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from experiments.harness.report import Cell, Curve, Estimate, Interval, Table, change
from experiments.tradeoff.choices import CHANNEL_USES, EDGE_GMACS, Cost, Figures, saving
from policies.policy import Objectives

OURS = "searched"
# Of accuracy, on *select*; the first is that of the paper's regime.
LOSSES = (0.005, 0.01, 0.02)


class Judged(NamedTuple):
    """What one member gave on the test images: its figures, and the right answers of each image."""

    objectives: Objectives
    right: list[int]


def _change(one: Objectives) -> Estimate:
    return Estimate.percent(one.accuracy_change, one.accuracy_change_se)


def _interval(estimate: Estimate) -> Interval:
    return Interval(estimate.value, estimate.value - 1.96 * estimate.se, estimate.value + 1.96 * estimate.se)


def within(cost: str, budgets: Sequence[float], rows: Sequence[dict[str, str | None]], test: Figures) -> Table:
    cells = [
        {f"at most, {cost}": f"{budget:g}"} | {family: name and _change(test[name]) for family, name in row.items()}
        for budget, row in zip(budgets, rows, strict=True)
        if any(row.values())
    ]
    title = f"Change on the test images, points, of each family's best on *select* within a budget of {cost}"
    return Table(title, cells, digits=dict.fromkeys(rows[0], 2))


def equal_losses(cost: str, least: Mapping[tuple[float, str], str | None], test: Mapping[str, Judged]) -> Table:
    """Every family where it is, on *select*, as accurate as ours, at the least of one cost."""
    rows: list[dict[str, Cell]] = []
    for (loss, family), name in least.items():
        row: dict[str, Cell] = dict.fromkeys(
            ("within, on *select*", "family", "accuracy, %", "edge GMACs", "tokens", "uses", "less ours, points",
             "GMACs of ours", "uses of ours")
        )  # fmt: skip
        row |= {"within, on *select*": f"{100 * loss:g} points", "family": family}
        ours = least[loss, OURS]
        if name is not None:
            one = test[name].objectives
            row |= {
                "accuracy, %": Estimate.percent(one.accuracy, one.accuracy_se),
                "edge GMACs": one.edge_gmacs,
                "tokens": one.tokens,
                "uses": one.channel_uses,
            }
            if ours is not None and family != OURS:
                our = test[ours].objectives
                row |= {
                    "less ours, points": _interval(change(test[name].right, test[ours].right)),
                    "GMACs of ours": one.edge_gmacs / our.edge_gmacs,
                    "uses of ours": one.channel_uses / our.channel_uses,
                }
        rows.append(row)
    digits = {"edge GMACs": 4, "less ours, points": 2, "GMACs of ours": 2, "uses of ours": 2}
    title = f"Within equal losses on *select*, each family's member of the fewest {cost}, on the test images"
    return Table(title, rows, digits)


def savings(front: Sequence[str], best: Mapping[str, Sequence[str]], select: Figures, test: Figures) -> Table:
    rows: list[dict[str, Cell]] = [{"family": family, "best members": len(members)} for family, members in best.items()]
    digits: dict[str, int] = {}
    for name, cost, other in (("uses", CHANNEL_USES, EDGE_GMACS), ("GMACs", EDGE_GMACS, CHANNEL_USES)):
        columns = (f"{name} saved, %", f"beaten ({name})", f"change on test, points ({name})")
        digits |= {columns[0]: 0, columns[2]: 2}
        for row, members in zip(rows, best.values(), strict=True):
            row |= dict(zip(columns, saving(front, members, select, test, cost, other), strict=True))
    title = "What the front saves against each family's best, as accurate on *select* and at no more of the other cost"
    return Table(title, rows, digits)


def headline(least: Mapping[tuple[float, str], str | None], test: Figures, unmerged: Objectives) -> Table:
    """The paper's regime: hardly any loss, and what is left of compute and of tokens."""
    rows: list[dict[str, Cell]] = []
    for (loss, family), name in least.items():
        if loss != LOSSES[0]:
            continue
        row: dict[str, Cell] = dict.fromkeys(("family", "change, points", "edge GMACs, %", "tokens, %", "uses"))
        row["family"] = family
        if name is not None:
            one = test[name]
            row |= {
                "change, points": _interval(_change(one)),
                "edge GMACs, %": 100 * one.edge_gmacs / unmerged.edge_gmacs,
                "tokens, %": 100 * one.tokens / unmerged.tokens,
                "uses": one.channel_uses,
            }
        rows.append(row)
    title = (
        "Least compute and tokens together within half a point of the unmerged model on *select*, on the test images"
    )
    return Table(title, rows, {"change, points": 2})


def points(name: str, family: Figures, cost: Cost, scale: float = 1) -> Curve:
    # What costs nothing has no place on a logarithmic axis.
    members = sorted((scale * cost(one), 100 * one.accuracy_change) for one in family.values() if cost(one))
    return Curve(name, [cost for cost, _ in members], [change for _, change in members])
