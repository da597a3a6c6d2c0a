import html
import re

import pytest

from policies.plot.data import choose_axes
from policies.plot.page import DIV, front_figure, front_page

TWO = ("channel_uses", "accuracy")
THREE = ("channel_uses", "edge_gmacs", "accuracy")


def traces(figure, name):
    return [trace for trace in figure.data if trace.name == name]


def test_two_objectives_are_a_flat_figure_of_what_was_measured(drawn):
    study = drawn(TWO)
    figure = front_figure([study], choose_axes(TWO))
    assert {trace.type for trace in figure.data} == {"scatter"}
    for name, points in (("trials", study.trials), ("front", study.front), ("tome", study.baselines["tome"])):
        (trace,) = traces(figure, name)
        assert list(trace.x) == points.values[:, 0].tolist()
        assert list(trace.y) == points.values[:, 1].tolist()
        assert trace.text == tuple("<br>".join(note) for note in points.notes)
    (front,) = traces(figure, "front")
    assert list(front.error_y.array) == study.front.errors[:, 1].tolist()
    assert (front.error_y.visible, front.error_x.visible) == (True, False)
    assert traces(figure, "trials")[0].error_y.visible is False
    (line,) = [trace for trace in figure.data if trace.mode == "lines"]
    assert (list(line.x), line.line.shape) == (study.front.values[:, 0].tolist(), "hv")
    assert (figure.layout.xaxis.type, figure.layout.yaxis.type) == ("log", "linear")
    assert figure.layout.xaxis.title.text == "channel uses per image"


def test_three_objectives_are_a_figure_in_space_and_its_three_pairs(drawn):
    study = drawn(THREE)
    figure = front_figure([study], choose_axes(THREE))
    (solid,) = [trace for trace in traces(figure, "front") if trace.type == "scatter3d"]
    assert [list(solid.x), list(solid.y), list(solid.z)] == study.front.values.T.tolist()
    flat = [trace for trace in traces(figure, "front") if trace.type == "scatter"]
    columns = study.front.values.T.tolist()
    assert [(list(one.x), list(one.y)) for one in flat] == [
        (columns[0], columns[2]),
        (columns[1], columns[2]),
        (columns[0], columns[1]),
    ]
    scene = figure.layout.scene
    assert [axis.type for axis in (scene.xaxis, scene.yaxis, scene.zaxis)] == ["log", "linear", "linear"]
    assert scene.yaxis.title.text == "edge compute, 10⁹ MACs"
    # Every name once, and it switches all panels.
    assert [trace.name for trace in figure.data if trace.showlegend] == ["trials", "front", "unmerged", "tome"]
    assert len([trace for trace in figure.data if trace.legendgroup == "tome"]) == 4


def test_the_page_needs_no_network_and_sends_nothing(drawn):
    study = drawn(THREE)
    page = front_page([study], choose_axes(THREE))
    assert page.startswith("<!doctype html>")
    assert not re.search(r"<(script|link|img|iframe)\b[^>]*\b(src|href)\s*=", page)
    assert not re.search(r"@import|integrity=", page)
    drawing = page[page.rindex("Plotly.newPlot(") :]
    assert "http" not in drawing
    assert '"showSendToCloud": false' in drawing
    for note in study.trials.notes:
        assert note[0] in drawing
    assert study.caption in page
    assert f'id="{DIV}"' in page


def test_the_same_studies_are_the_same_page(drawn):
    axes = choose_axes(THREE)
    assert front_page([drawn(THREE)], axes) == front_page([drawn(THREE)], axes)


@pytest.mark.parametrize("names", [TWO, THREE])
def test_several_studies_are_told_apart(drawn, names):
    figure = front_figure([drawn(names), drawn(names, "other")], choose_axes(names))
    shown = [trace.name for trace in figure.data if trace.showlegend]
    assert shown[:4] == ["trials of tiny", "trials of other", "front of tiny", "front of other"]
    assert len(set(shown)) == len(shown) == 8
    assert traces(figure, "tome of tiny")[-1].marker.line.color != traces(figure, "tome of other")[-1].marker.line.color


def test_a_name_becomes_no_part_of_the_page(drawn):
    name = "</script><script>alert('x')</script><b>"
    studies = [drawn(TWO, name), drawn(TWO)]
    page = front_page(studies, choose_axes(TWO))
    assert name not in page
    assert "<script>alert" not in page
    assert f"<h1>Pareto fronts of {html.escape(name)}, tiny</h1>" in page
    # plotly reads these as HTML again.
    shown = [trace.name for trace in front_figure(studies, choose_axes(TWO)).data if trace.showlegend]
    assert shown[0] == html.escape(f"trials of {name}")
