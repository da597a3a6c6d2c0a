"""Curves in panels."""

import pytest

from experiments.harness.plots import draw
from experiments.harness.report import Curve, Plot


@pytest.mark.parametrize("panels", [1, 2, 3])
@pytest.mark.parametrize("log_x", [False, True])
def test_a_plot_is_a_png_and_the_same_each_time(panels: int, log_x: bool) -> None:
    curves = [Curve("a $x$", [1, 10], [0.5, 0.6], [0.1, 0.1]), Curve("b", [1, 10], [0.4, 0.3])]
    plot = Plot("p", "uses", "accuracy", {f"panel {one}": curves for one in range(panels)}, log_x=log_x)
    assert draw(plot).startswith(b"\x89PNG")
    assert draw(plot) == draw(plot)
