"""Fronts as a figure of matplotlib: one panel for two objectives, all three pairs for three."""

import textwrap
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from policies.plot.canvas import house_style, make_logarithmic, new_figure, plain
from policies.plot.data import (
    INK,
    MARKS,
    OTHER_MARK,
    STUDY_COLOURS,
    Series,
    captions,
    families,
    logarithmic,
    panels,
    staircase,
    title,
)
from policies.search.objectives import Objective

CAPTION_CHARACTERS = 138
# Where a front's colours tell a third axis, the study's own colour would only mislead.
NEUTRAL = "#555555"


def front_figure(studies: Sequence[Series], axes: Sequence[Objective]) -> Figure:
    """Trials, fronts and baselines of studies over two or three axes.

    With three axes and one study, the front's colours tell the axis that a panel does not show.
    """
    pairs = panels(axes)
    by_third = len(axes) == 3 and len(studies) == 1
    with house_style():
        if len(pairs) == 1:
            figure = new_figure(4.6)
            grid = [figure.add_subplot()]
            figure.legend(handles=_legend(studies, by_third), loc="outside right center")
        else:
            figure = new_figure(7.2)
            grid = [figure.add_subplot(2, 2, place) for place in (1, 2, 3)]
            # The fourth place is the legend's.
            corner = figure.add_subplot(2, 2, 4)
            corner.set_axis_off()
            corner.legend(handles=_legend(studies, by_third), loc="center")
        for panel, (across, up) in zip(grid, pairs, strict=True):
            marks = [
                _draw_study(panel, study, colour, axes, across, up, by_third)
                for study, colour in zip(studies, STUDY_COLOURS, strict=False)
            ]
            for study, colour in zip(studies, STUDY_COLOURS, strict=False):
                _draw_baselines(panel, study, INK if len(studies) == 1 else colour, across, up)
            panel.set_xlabel(axes[across].label)
            panel.set_ylabel(axes[up].label)
            for column, axis in ((across, panel.xaxis), (up, panel.yaxis)):
                if logarithmic(studies, axes, column):
                    make_logarithmic(panel, axis)
            if by_third:
                third = 3 - across - up
                bar = figure.colorbar(marks[0], ax=panel, label=axes[third].label, aspect=30, pad=0.02)
                if logarithmic(studies, axes, third):
                    make_logarithmic(bar.ax, bar.ax.yaxis)
        figure.suptitle(plain(title(studies)))
        caption = "\n".join(textwrap.fill(line, CAPTION_CHARACTERS) for line in captions(studies, axes))
        figure.supxlabel(plain(caption), x=0.01, ha="left", fontsize=7.6, color="#444444", linespacing=1.3)
    return figure


def _draw_study(
    panel: Axes, study: Series, colour: str, axes: Sequence[Objective], across: int, up: int, by_third: bool
) -> PathCollection:
    """Draw the trials and the front; returns the front's marks."""
    if by_third:
        colour = NEUTRAL
    trials, front = study.trials.values, study.front
    panel.scatter(
        trials[:, across], trials[:, up], s=13, color=colour, alpha=0.35, linewidths=0, zorder=2, label="trials"
    )
    steps = staircase(front, axes, across, up)
    panel.plot(steps[:, 0], steps[:, 1], drawstyle="steps-post", color=colour, linewidth=1.2, zorder=3, label="steps")
    x, y = front.values[:, across], front.values[:, up]
    panel.errorbar(
        x,
        y,
        xerr=front.errors[:, across],
        yerr=front.errors[:, up],
        fmt="none",
        ecolor=colour,
        elinewidth=0.9,
        zorder=4,
    )
    third = 3 - across - up
    inside: dict[str, Any] = {"color": colour}
    if by_third:
        norm = "log" if logarithmic([study], axes, third) else "linear"
        inside = {"c": front.values[:, third], "cmap": "cividis", "norm": norm}
    return panel.scatter(x, y, s=34, edgecolors=INK, linewidths=0.7, zorder=5, label="front", **inside)


def _draw_baselines(panel: Axes, study: Series, edge: str, across: int, up: int) -> None:
    for family in families([study]):
        mark, values = MARKS.get(family, OTHER_MARK), study.baselines[family].values
        panel.scatter(
            values[:, across],
            values[:, up],
            s=mark.size**2,
            marker=mark.marker,
            color=mark.colour,
            edgecolors=edge,
            linewidths=0.8 if edge == INK else 1.4,
            zorder=6,
            label=family,
        )


def _legend(studies: Sequence[Series], by_third: bool) -> list[Line2D]:
    def entry(label: str, **look: Any) -> Line2D:
        return Line2D([], [], label=plain(label), **({"marker": "o", "markeredgecolor": INK} | look))

    handles = []
    for study, colour in zip(studies, STUDY_COLOURS, strict=False):
        shown = NEUTRAL if by_third else colour
        of = f" of {study.name}" if len(studies) > 1 else ""
        front, trials = f"front{of} ({len(study.front.values)})", f"trials{of} ({len(study.trials.values)})"
        handles.append(entry(front, color=shown, markersize=6, markeredgewidth=0.7))
        handles.append(entry(trials, color=shown, markersize=4, markeredgewidth=0, alpha=0.35, linestyle=""))
    for family in families(studies):
        mark = MARKS.get(family, OTHER_MARK)
        handles.append(
            entry(
                family, marker=mark.marker, color=mark.colour, markersize=mark.size, markeredgewidth=0.8, linestyle=""
            )
        )
    return handles
