"""Fronts as one HTML page of plotly that holds all that it needs."""

import html
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from policies.plot.data import (
    INK,
    MARKS,
    OTHER_MARK,
    STUDY_COLOURS,
    Points,
    Series,
    captions,
    families,
    logarithmic,
    panels,
    staircase,
    title,
)
from policies.search.objectives import Objective

DIV = "thinwire-fronts"
# plotly's own button would send the figure to a server of its makers.
_CONFIG = {"displaylogo": False, "showSendToCloud": False, "responsive": True}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Thinwire: {title}</title>
<style>
body {{ margin: 1.5rem auto; max-width: 78rem; padding: 0 1rem; font: 15px/1.45 system-ui, sans-serif; color: {ink}; }}
h1 {{ font-size: 1.3rem; font-weight: 600; }}
figcaption {{ font-size: 0.85rem; color: #444; }}
figure {{ margin: 0; }}
</style>
</head>
<body>
<h1>{title}</h1>
<figure>
{drawing}
<figcaption>{caption}</figcaption>
</figure>
</body>
</html>
"""


def front_page(studies: Sequence[Series], axes: Sequence[Objective]) -> str:
    """The page: the figure with plotly's own JavaScript in it, and the caption."""
    figure = front_figure(studies, axes)
    # Without an id of ours the figure would get a random one, and the same store another page each time.
    drawing = figure.to_html(full_html=False, include_plotlyjs=True, div_id=DIV, config=_CONFIG)
    caption = "<br>\n".join(map(html.escape, captions(studies, axes)))
    return _PAGE.format(title=html.escape(title(studies)), ink=INK, drawing=drawing, caption=caption)


def front_figure(studies: Sequence[Series], axes: Sequence[Objective]) -> Any:
    """Trials, fronts and baselines as a plotly figure: flat for two axes; for three in space, and all pairs of them."""
    pairs = panels(axes)
    if len(pairs) == 1:
        figure = make_subplots(1, 1)
        places = [(1, 1)]
    else:
        figure = make_subplots(
            2, 2, specs=[[{"type": "scene"}, {}], [{}, {}]], horizontal_spacing=0.09, vertical_spacing=0.09
        )
        places = [(1, 2), (2, 1), (2, 2)]
        for trace in _traces(studies, (0, 1, 2), in_legend=False):
            figure.add_trace(trace, 1, 1)
        figure.update_scenes({f"{side}axis": _scale(studies, axes, i) for i, side in enumerate("xyz")})
        # Seen from where the costs are low, and from far enough for the axes' titles to be on the page.
        camera = {"eye": {"x": -1.65, "y": -1.65, "z": 0.9}, "center": {"x": 0, "y": 0, "z": -0.2}}
        figure.update_scenes(aspectmode="cube", camera=camera)
    for (across, up), (row, column) in zip(pairs, places, strict=True):
        # Each name stands in the legend once, and switches what it names in every panel.
        steps = _steps(studies, axes, across, up)
        for trace in [*steps, *_traces(studies, (across, up), in_legend=(row, column) == places[0])]:
            figure.add_trace(trace, row, column)
        figure.update_xaxes(_scale(studies, axes, across), row=row, col=column)
        figure.update_yaxes(_scale(studies, axes, up), row=row, col=column)
    figure.update_layout(
        template="plotly_white",
        height=560 if len(pairs) == 1 else 1000,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"itemsizing": "trace", "y": 0.95},
        hoverlabel={"align": "left"},
        font={"color": INK},
    )
    return figure


def _steps(studies: Sequence[Series], axes: Sequence[Objective], across: int, up: int) -> list[Any]:
    traces = []
    for study, colour in zip(studies, STUDY_COLOURS, strict=False):
        steps = staircase(study.front, axes, across, up)
        traces.append(
            go.Scatter(
                x=steps[:, 0].tolist(),
                y=steps[:, 1].tolist(),
                mode="lines",
                line={"shape": "hv", "color": colour, "width": 1.5},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=_name(studies, "front", study),
            )
        )
    return traces


def _traces(studies: Sequence[Series], columns: Sequence[int], in_legend: bool) -> list[Any]:
    """All points along two axes, or along three in space. As lists: plotly packs arrays into base64."""
    traces = []
    for layer in _layers(studies):
        places = list(zip("xyz", columns, strict=False))
        told = {
            "name": layer.name,
            "legendgroup": layer.name,
            "mode": "markers",
            "text": ["<br>".join(html.escape(line) for line in note) for note in layer.points.notes],
            "hovertemplate": "%{text}<extra></extra>",
            "showlegend": in_legend,
        } | {side: layer.points.values[:, column].tolist() for side, column in places}
        if len(columns) == 3:
            shape = {"symbol": layer.symbol_3d, "size": layer.marker["size"] * 0.45}
            traces.append(go.Scatter3d(marker=layer.marker | shape, **told))
            continue
        errors = layer.points.errors * layer.bars
        bars = {
            f"error_{side}": {
                "array": errors[:, column].tolist(),
                "color": layer.marker["color"],
                "thickness": 1.2,
                "width": 0,
                "visible": bool(errors[:, column].any()),
            }
            for side, column in places
        }
        traces.append(go.Scatter(marker=layer.marker, **bars, **told))
    return traces


class _Layer(NamedTuple):
    """What is drawn alike in every panel: points, their mark, its shape in space, and whether errors are shown."""

    name: str
    points: Points
    marker: dict[str, Any]
    symbol_3d: str = "circle"
    bars: bool = False


def _layers(studies: Sequence[Series]) -> list[_Layer]:
    """Everything that is drawn, the lowest first."""
    trials, fronts, baselines = [], [], []
    for study, colour in zip(studies, STUDY_COLOURS, strict=False):
        faint = {"color": colour, "size": 5, "opacity": 0.3}
        strong = {"color": colour, "size": 8, "line": {"color": INK, "width": 1}}
        trials.append(_Layer(_name(studies, "trials", study), study.trials, faint))
        fronts.append(_Layer(_name(studies, "front", study), study.front, strong, bars=True))
        for family in families([study]):
            mark = MARKS.get(family, OTHER_MARK)
            rim = {"color": INK, "width": 1} if len(studies) == 1 else {"color": colour, "width": 2}
            marker = {"color": mark.colour, "symbol": mark.symbol, "size": mark.size * 1.4, "line": rim}
            name = _name(studies, family, study)
            baselines.append(_Layer(name, study.baselines[family], marker, mark.symbol_3d))
    return [*trials, *fronts, *baselines]


def _name(studies: Sequence[Series], what: str, study: Series) -> str:
    # plotly reads a text as HTML, and nobody's name for a study should become a part of the page.
    return html.escape(what if len(studies) == 1 else f"{what} of {study.name}")


def _scale(studies: Sequence[Series], axes: Sequence[Objective], column: int) -> dict[str, Any]:
    scale = {"type": "log", "dtick": "D2"} if logarithmic(studies, axes, column) else {"type": "linear"}
    return {"title": {"text": axes[column].label}, **scale}
