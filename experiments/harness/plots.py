"""Curves in panels, as PNG."""

from matplotlib.axes import Axes

from experiments.harness.report import Curve, Plot
from policies.plot.canvas import house_style, make_logarithmic, new_figure, plain, png_bytes

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
LINES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX*"
PER_ROW = 2


def draw(plot: Plot) -> bytes:
    """Draw a plot.

    Returns:
        a PNG; the same plot gives the same bytes.
    """
    rows = -(-len(plot.panels) // PER_ROW)
    labels = list(dict.fromkeys(curve.label for curves in plot.panels.values() for curve in curves))
    with house_style():
        figure = new_figure(3.6 * rows + 0.6)
        grid = figure.subplots(rows, min(PER_ROW, len(plot.panels)), sharey=True, squeeze=False).flat
        for axes, (title, curves) in zip(grid, plot.panels.items(), strict=False):
            for curve in curves:
                _draw_curve(axes, curve, labels.index(curve.label), plot.scatter)
            axes.set_title(plain(title))
            axes.set_xlabel(plot.x_label)
            axes.set_ylabel(plot.y_label)
            if plot.log_x:
                make_logarithmic(axes, axes.xaxis)
        for axes in list(grid)[len(plot.panels) :]:
            axes.set_visible(False)
        handles = {
            label: handle
            for axes in figure.axes
            for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=min(4, len(handles)))
    return png_bytes(figure)


def _draw_curve(axes: Axes, curve: Curve, number: int, scatter: bool) -> None:
    colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
    line = "" if scatter else LINES[number % len(LINES)]
    axes.plot(
        curve.x, curve.y, color=colour, linestyle=line, marker=marker, markersize=4, linewidth=1.6,
        label=plain(curve.label),
    )  # fmt: skip
    if curve.y_se is not None:
        low, high = ([y + sign * 1.96 * se for y, se in zip(curve.y, curve.y_se, strict=True)] for sign in (-1, 1))
        axes.fill_between(curve.x, low, high, color=colour, alpha=0.12, linewidth=0)
