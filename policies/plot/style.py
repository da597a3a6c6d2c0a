"""Colours and marks, told apart by colour-blind readers too (Okabe and Ito, 2008) and by shape in grey."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.plot.data import Series

INK = "#222222"
# What baselines do not wear.
STUDY_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True)
class Mark:
    """How a family of baselines is drawn.

    Attributes:
        colour: of its inside.
        marker: as matplotlib names the shape.
        symbol: as plotly does.
        symbol_3d: the nearest of the few shapes that plotly has in space.
        size: of its width in points.
    """

    colour: str
    marker: str
    symbol: str
    symbol_3d: str
    size: float


MARKS = {
    "unmerged": Mark("#000000", "*", "star", "diamond", 13.0),
    "one-threshold": Mark("#E69F00", "^", "triangle-up", "diamond-open", 7.5),
    "tome": Mark("#56B4E9", "s", "square", "square", 6.5),
    "pooled-token": Mark("#F0E442", "D", "diamond", "diamond", 6.5),
    "logits": Mark("#999999", "P", "cross", "cross", 8.5),
    "label": Mark("#FFFFFF", "X", "x", "x", 8.5),
}
OTHER_MARK = Mark("#DDDDDD", "p", "pentagon", "circle", 8.5)


def families(studies: Iterable[Series]) -> list[str]:
    """Every family of the studies' baselines once: the known ones in their order, then others."""
    present = dict.fromkeys(family for study in studies for family in study.baselines)
    return [*(family for family in MARKS if family in present), *(family for family in present if family not in MARKS)]


def title(studies: Sequence[Series]) -> str:
    """The heading of a drawing."""
    names = ", ".join(study.name for study in studies)
    return f"Pareto front{'s' if len(studies) > 1 else ''} of {names}"
