import io

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import LogNorm, to_hex
from PIL import Image

from policies.plot.canvas import png_bytes
from policies.plot.data import INK, MARKS, STUDY_COLOURS, choose_axes
from policies.plot.png import front_figure

TWO = ("channel_uses", "accuracy")
THREE = ("channel_uses", "edge_gmacs", "accuracy")


def marks(panel, label):
    """The points of all marks of that label in a panel."""
    return [collection for collection in panel.collections if collection.get_label() == label]


def legend_texts(legend):
    return [text.get_text() for text in legend.get_texts()]


def test_two_objectives_are_one_panel_of_what_was_measured(drawn):
    study = drawn(TWO)
    figure = front_figure([study], choose_axes(TWO))
    (panel,) = figure.axes
    assert (panel.get_xlabel(), panel.get_ylabel()) == ("channel uses per image", "accuracy")
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "linear")
    for label, points in (("trials", study.trials), ("front", study.front), ("tome", study.baselines["tome"])):
        (collection,) = marks(panel, label)
        np.testing.assert_array_equal(collection.get_offsets(), points.values)
    (line,) = panel.get_lines()
    np.testing.assert_array_equal(line.get_xydata(), study.front.values)
    assert line.get_drawstyle() == "steps-post"
    assert marks(panel, "trials")[0].get_alpha() < marks(panel, "front")[0].get_facecolor()[0, 3]


def test_the_front_has_bars_of_one_standard_error_of_its_accuracy(drawn):
    study = drawn(TWO)
    (panel,) = front_figure([study], choose_axes(TWO)).axes
    (container,) = panel.containers
    bars = container.lines[2][1].get_segments()
    heights = [(segment[1, 1] - segment[0, 1]) / 2 for segment in bars]
    np.testing.assert_allclose(heights, study.front.errors[:, 1])


def test_three_objectives_are_three_panels_coloured_by_the_axis_that_each_leaves_out(drawn):
    study = drawn(THREE)
    figure = front_figure([study], choose_axes(THREE))
    panels = [axes for axes in figure.axes if marks(axes, "front")]
    labels = [(panel.get_xlabel(), panel.get_ylabel()) for panel in panels]
    uses, compute, accuracy = "channel uses per image", "edge compute, 10⁹ MACs", "accuracy"
    assert labels == [(uses, accuracy), (compute, accuracy), (uses, compute)]
    for panel, columns, third in zip(panels, ((0, 2), (1, 2), (0, 1)), (1, 0, 2), strict=True):
        (front,) = marks(panel, "front")
        np.testing.assert_array_equal(front.get_offsets(), study.front.values[:, columns])
        np.testing.assert_array_equal(front.get_array(), study.front.values[:, third])
    assert isinstance(marks(panels[1], "front")[0].norm, LogNorm)
    bars = [axes.get_ylabel() for axes in figure.axes if axes.get_label() == "<colorbar>"]
    assert bars == [compute, uses, accuracy]


def test_several_studies_have_colours_of_their_own(drawn):
    studies = [drawn(THREE), drawn(THREE, "other", ((20.0, 1.0, 0.5),))]
    figure = front_figure(studies, choose_axes(THREE))
    first = figure.axes[0]
    assert [to_hex(front.get_facecolor()[0]).upper() for front in marks(first, "front")] == list(STUDY_COLOURS[:2])
    assert [to_hex(tome.get_edgecolor()[0]).upper() for tome in marks(first, "tome")] == list(STUDY_COLOURS[:2])
    assert {to_hex(tome.get_facecolor()[0]).upper() for tome in marks(first, "tome")} == {MARKS["tome"].colour}
    assert not [axes for axes in figure.axes if axes.get_label() == "<colorbar>"]
    texts = legend_texts(figure.axes[3].get_legend())
    assert texts == [
        "front of tiny (4)",
        "trials of tiny (5)",
        "front of other (1)",
        "trials of other (1)",
        "unmerged",
        "tome",
    ]
    caption = figure.get_supxlabel()
    assert figure.get_suptitle() == "Pareto fronts of tiny, other"
    assert studies[0].caption in caption.replace("\n", " ")
    assert studies[1].caption in caption.replace("\n", " ")


def test_one_study_needs_no_name_in_its_legend(drawn):
    figure = front_figure([drawn(TWO)], choose_axes(TWO))
    (legend,) = figure.legends
    assert legend_texts(legend) == ["front (3)", "trials (5)", "unmerged", "tome"]
    assert to_hex(marks(figure.axes[0], "tome")[0].get_edgecolor()[0]) == INK


@pytest.mark.parametrize("names", [TWO, THREE])
def test_one_trial_is_drawn_without_a_warning(drawn, names):
    assert png_bytes(front_figure([drawn(names, "one", ((20.0, 1.0, 0.5),))], choose_axes(names)))


def test_no_uses_at_all_turn_the_axis_linear(drawn):
    (panel,) = front_figure([drawn(TWO, "free", ((0.0, 1.0, 0.5),))], choose_axes(TWO)).axes
    assert panel.get_xscale() == "linear"


def test_a_name_is_no_formula(drawn):
    assert png_bytes(front_figure([drawn(TWO, r"a$\nonsense$b")], choose_axes(TWO)))


@pytest.mark.parametrize("names", [TWO, THREE])
def test_the_picture_is_wide_enough_not_blank_and_the_same_each_time(drawn, names):
    content = png_bytes(front_figure([drawn(names)], choose_axes(names)))
    image = np.asarray(Image.open(io.BytesIO(content)).convert("L"))
    assert image.shape[1] == 1328
    assert image.shape[0] >= 700
    assert 0.005 < (image < 200).mean() < 0.3
    assert b"Software" not in content
    assert png_bytes(front_figure([drawn(names)], choose_axes(names))) == content


def test_a_readers_own_style_changes_nothing_and_stays(drawn):
    content = png_bytes(front_figure([drawn(TWO)], choose_axes(TWO)))
    with matplotlib.rc_context({"axes.facecolor": "black", "savefig.facecolor": "red", "font.size": 30}):
        assert png_bytes(front_figure([drawn(TWO)], choose_axes(TWO))) == content
        assert matplotlib.rcParams["font.size"] == 30
