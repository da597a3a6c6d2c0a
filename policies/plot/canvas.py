"""The paper that matplotlib draws on: one style, one size of type, and the same bytes for the same drawing."""

import io
from contextlib import AbstractContextManager

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from policies.plot.data import INK

DPI = 160
# Sizes are for a width of 8.3 inches that a README shows at some 830 pixels.
WIDTH = 8.3
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.labelsize": 10.0,
    "axes.titlesize": 10.0,
    "figure.titlesize": 11.5,
    "legend.fontsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "text.usetex": False,
}


def house_style() -> AbstractContextManager[None]:
    """Draw and render within this: a reader's own matplotlibrc changes no drawing of ours."""
    return matplotlib.style.context(["default", _STYLE])


def new_figure(height: float) -> Figure:
    """An empty figure, ``height`` inches high, that pyplot knows nothing of."""
    return Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained", facecolor="white")


def plain(text: str) -> str:
    """A text as it stands: matplotlib takes what is between two dollar signs for a formula."""
    return text.replace("$", r"\$")


def make_logarithmic(axes: Axes, axis: Axis) -> None:
    """Give an axis of ``axes`` a logarithmic scale with plainly written ticks, at 1, 2 and 5 where there is room."""
    set_scale = axes.set_xscale if axis is axes.xaxis else axes.set_yscale
    set_scale("log")
    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high < 500 * low else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def png_bytes(figure: Figure) -> bytes:
    """The figure as PNG, without the version of the library, so that the same drawing is the same bytes."""
    stream = io.BytesIO()
    with house_style():
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
