import io

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image
from scipy.stats import t

from policies.plot.canvas import png_bytes
from policies.plot.convergence import convergence_figure
from policies.plot.draw import draw_convergence
from policies.plot.style import STUDY_COLOURS
from thinwire.errors import InvalidRequestError


def curve(seeds, evaluations, seed=0):
    return np.sort(np.random.default_rng(seed).uniform(0, 1, (seeds, evaluations)), axis=1)


def test_lines_are_means_and_bands_are_the_intervals_of_student():
    curves = {"qLogNEHVI": curve(5, 20), "random": curve(3, 30, 1)}
    (panel,) = convergence_figure(curves).axes
    for (name, values), line, band, colour in zip(
        curves.items(), panel.get_lines(), panel.collections, STUDY_COLOURS, strict=False
    ):
        seeds, evaluations = values.shape
        assert line.get_label() == f"{name} ({seeds} seeds)"
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, evaluations + 1))
        np.testing.assert_allclose(line.get_ydata(), values.mean(axis=0))
        assert to_hex(line.get_color()).upper() == colour
        low, high = t.interval(0.95, seeds - 1, values[:, -1].mean(), values[:, -1].std(ddof=1) / seeds**0.5)
        last = band.get_paths()[0].vertices
        ends = last[last[:, 0] == evaluations, 1]
        assert (ends.min(), ends.max()) == pytest.approx((low, high))


def test_one_seed_has_no_interval():
    (panel,) = convergence_figure({"random": curve(1, 9)}).axes
    assert panel.get_lines()[0].get_label() == "random (1 seed)"
    assert not panel.collections


def test_it_is_written_as_the_same_picture_each_time(tmp_path):
    draw_convergence({"random": curve(4, 9)}, tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    assert content == png_bytes(convergence_figure({"random": curve(4, 9)}))
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert image.shape == (736, 1328)
    assert (image < 200).any()


@pytest.mark.parametrize(
    "curves",
    [
        {},
        {"a": np.zeros(3)},
        {"a": np.zeros((0, 3))},
        {"a": np.full((2, 3), np.nan)},
        {str(i): np.zeros((2, 3)) for i in range(5)},
    ],
)
def test_what_are_no_curves_is_told(curves, tmp_path):
    with pytest.raises(InvalidRequestError, match="expected"):
        draw_convergence(curves, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_only_pictures_are_written(tmp_path):
    with pytest.raises(InvalidRequestError, match=r"ends in \.png, got"):
        draw_convergence({"a": np.zeros((2, 3))}, tmp_path / "a.html")
