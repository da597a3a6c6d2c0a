"""How fast strategies find a front: hypervolume against evaluations, as a figure of matplotlib."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import stdtrit

from policies.plot.canvas import house_style, new_figure, plain
from policies.plot.style import STUDY_COLOURS
from thinwire.errors import InvalidRequestError

# Told apart in grey, too.
_LINES = ("-", "--", "-.", ":")


def convergence_figure(curves: Mapping[str, NDArray[np.float64]], every: int = 1) -> Figure:
    """Mean hypervolume of each strategy with the 95% interval of the mean (Student's t over the seeds).

    Args:
        curves: by the strategy's name, a ``seeds x checkpoints`` array: the hypervolume at each. One seed has no
            interval.
        every: evaluations from one checkpoint to the next.

    Raises:
        InvalidRequestError: there is none, more than there are colours, or one is no such array of finite numbers.
    """
    if not 1 <= len(curves) <= len(STUDY_COLOURS):
        raise InvalidRequestError(f"expected 1 to {len(STUDY_COLOURS)} strategies to draw, got {len(curves)}")
    with house_style():
        figure = new_figure(4.6)
        panel = figure.add_subplot()
        for (name, given), colour, line in zip(curves.items(), STUDY_COLOURS, _LINES, strict=False):
            curve = np.asarray(given, dtype=np.float64)
            if curve.ndim != 2 or curve.size == 0 or not np.isfinite(curve).all():
                raise InvalidRequestError(
                    f"strategy {name}: expected seeds x checkpoints of finite hypervolumes, got shape {curve.shape}"
                )
            seeds, checkpoints = curve.shape
            steps, mean = every * np.arange(1, checkpoints + 1), curve.mean(axis=0)
            label = plain(f"{name} ({seeds} seed{'s' if seeds > 1 else ''})")
            panel.plot(steps, mean, color=colour, linestyle=line, linewidth=1.8, label=label)
            if seeds > 1:
                half = stdtrit(seeds - 1, 0.975) * curve.std(axis=0, ddof=1) / np.sqrt(seeds)
                panel.fill_between(steps, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        panel.set_xlabel("evaluated policies")
        panel.set_ylabel("hypervolume (mean, 95% interval)")
        panel.margins(x=0.01)
        panel.legend(loc="lower right")
    return figure
