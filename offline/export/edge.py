"""The device's whole side as one ONNX graph that serves every policy."""

import json
from dataclasses import asdict
from typing import Any, cast

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edge.torch_engine import TorchEngine
from offline.export.graph import Graph
from offline.export.merging import State, centred, merge_above, merge_down_to
from offline.export.parts import Halves, export_parts
from offline.export.pieces import Pieces, make_model
from thinwire.bundle import Bundle, Merging
from thinwire.exports import EDGE_INPUTS, EDGE_OUTPUTS, FORMAT, METADATA, SPEECH_INPUTS
from thinwire.macs import LayerMacs
from thinwire.nn.towers.interface import ImageTower, RotaryTower, SpeechTower, Tower


def export_edge(engine: TorchEngine) -> onnx.ModelProto:
    """The device's side of a bundle as one graph.

    Thresholds, rate, SNR and the most tokens are inputs, so that any policy runs on it. The inputs and outputs are
    those of `thinwire.exports.EDGE_INPUTS`, of a tower of speech `SPEECH_INPUTS`, and `EDGE_OUTPUTS`.

    Args:
        engine: in torch, whose function the graph is.
    """
    bundle, tower = engine.bundle, engine.tower
    steps, prefix = bundle.steps, tower.prefix_tokens
    takes = SPEECH_INPUTS if isinstance(tower, SpeechTower) else EDGE_INPUTS
    pieces, halves = export_parts(engine)
    g = Graph()
    matches = g.split(g.op("Less", "thresholds", g.constant(np.array(1, dtype=np.float32))), steps)
    gates = list(zip(matches, g.split("thresholds", steps), strict=True))
    g.op("Identity", takes[0][0], outputs=[pieces.inputs[0]])
    state = _start(g, pieces.append(g, pieces.outputs[0]), engine)
    counts = []
    if bundle.merging.front:
        state = _front(g, state, gates.pop(0), engine)
        counts.append(g.op("Shape", state.x, start=0, end=1))
    for layer, (half, gate) in enumerate(zip(halves, gates, strict=True)):
        state = _layer(g, pieces, half, state, gate, tower.layer_macs(layer), engine)
        counts.append(g.op("Shape", state.x, start=0, end=1))
    state = _to_send(g, state, bundle, prefix)
    state = _within_limit(g, state, bundle)
    g.op("Identity", state.x, outputs=["sent"])
    g.op("Identity", state.sizes, outputs=["sent_sizes"])
    pairs = pieces.append(g, pieces.outputs[-1])
    twice = g.op("Mul", "symbols_per_token", g.integers(2))
    g.op("Slice", pairs, g.integers(0), twice, g.integers(1), outputs=["symbols"])
    g.op("Cast", state.sizes, outputs=["sizes"], to=TensorProto.INT64)
    g.op("Identity", state.origin, outputs=["merge_map"])
    if counts:
        g.op("Concat", *counts, outputs=["counts"], axis=0)
    else:
        g.op("Identity", g.integers(), outputs=["counts"])
    shapes: dict[str, list[Any]] = {"thresholds": [steps], "counts": [steps]}
    if isinstance(tower, SpeechTower):
        shapes |= {"features": [tower.mel_bins, "frames"], "merge_map": ["positions"]}
    else:
        size = bundle.preprocessing.size
        shapes |= {"pixels": [size, size, cast(ImageTower, tower).channels], "merge_map": [bundle.patches]}
    return make_model(
        g,
        pieces,
        [helper.make_tensor_value_info(name, _TYPES[kind], shapes.get(name, [1])) for name, kind in takes],
        [
            helper.make_tensor_value_info(name, _TYPES[kind], shapes.get(name, ["tokens", "values"][:rank]))
            for name, kind, rank in EDGE_OUTPUTS
        ],
        {METADATA: json.dumps(_metadata(engine))},
    )


_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def _metadata(engine: TorchEngine) -> dict[str, Any]:
    cost = asdict(engine.cost)
    del cost["merging"], cost["patches"]
    return {
        "format": FORMAT,
        "bundle": engine.bundle.digest,
        "least_tokens": engine.least_tokens,
        "cost": cost | {"layers": [list(layer) for layer in engine.cost.layers]},
    }


def _start(g: Graph, x: str, engine: TorchEngine) -> State:
    """What enters the first layer: as many tokens as there are patches, or as the clip has positions."""
    prefix = engine.tower.prefix_tokens
    count = prefix + engine.bundle.patches
    sizes, origin = np.ones(count, dtype=np.float32), np.arange(prefix, count, dtype=np.int64)
    if isinstance(engine.tower, ImageTower):
        return State(x, g.constant(sizes), g.constant(origin))
    shape = g.op("Shape", x, start=0, end=1)
    one = numpy_helper.from_array(sizes[:1])
    rows = g.op("Range", g.integer(prefix), g.op("Squeeze", shape, g.integers(0)), g.integer(1))
    return State(x, g.op("ConstantOfShape", shape, value=one), rows)


def _front(g: Graph, state: State, gate: tuple[str, str], engine: TorchEngine) -> State:
    matches, threshold = gate
    tower = engine.tower
    # Out here, where it is found among the files' weights.
    table = g.constant(tower.positions.detach().cpu().numpy()) if isinstance(tower, SpeechTower) else None

    def merged(then: Graph) -> State:
        content = state.x if table is None else _without_positions(then, state.x, table)
        return _merge(then, state, content, tower.width, threshold, engine, engine.bundle.merging.in_front)

    def skipped(otherwise: Graph) -> State:
        return State(*(otherwise.op("Identity", value) for value in state))

    return State(*g.branch(matches, merged, skipped))


def _without_positions(g: Graph, x: str, table: str) -> str:
    return g.op("Sub", x, g.op("Slice", table, g.integers(0), g.op("Shape", x, start=0, end=1), g.integers(0)))


def _merge(
    g: Graph, tokens: State, metric: str, width: int, threshold: str, engine: TorchEngine, merging: Merging
) -> State:
    prefix, patches = engine.tower.prefix_tokens, engine.bundle.patches
    return merge_above(g, tokens, metric, width, threshold, prefix, patches, merging)


def _centres(g: Graph, state: State, tower: Tower) -> str:
    """`thinwire.nn.merging.tokens.Tokens.centres`, for one image."""
    grid = cast(RotaryTower, tower).grid.cpu().numpy()
    rows = g.op("Concat", g.op("Shape", state.x, start=0, end=1), g.integers(3), axis=0)
    nothing = g.op("ConstantOfShape", rows, value=numpy_helper.from_array(np.zeros(1, dtype=np.float32)))
    index = g.op("Unsqueeze", state.origin, g.integers(1))
    sums = g.op("ScatterND", nothing, index, g.constant(grid), reduction="add")
    return g.op("Div", sums, g.op("Unsqueeze", state.sizes, g.integers(1)))


def _layer(
    g: Graph, pieces: Pieces, half: Halves, state: State, gate: tuple[str, str], macs: LayerMacs, engine: TorchEngine
) -> State:
    merging = engine.bundle.merging
    g.op("Identity", state.x, outputs=[half.entering])
    if half.sizes is not None:
        g.op("Identity", state.sizes, outputs=[half.sizes])
    if half.centres is not None:
        g.op("Identity", _centres(g, state, engine.tower), outputs=[half.centres])
    matches, threshold = gate
    width = macs.metric_width(merging)
    if merging.place == "layer":
        attended = pieces.append(g, half.attended)
        g.op("Identity", attended, outputs=[half.between])
        last = half.output
    else:
        last = half.attended
    # What comes out of a branch is written anew. So the last sum stands in it, and not a copy of that sum.
    add = pieces.append_apart(g, last)
    metric = pieces.append(g, half.metric)

    def merged(then: Graph) -> State:
        tokens = state._replace(x=add(then))
        compared = centred(then, metric, engine.tower.prefix_tokens) if merging.is_centred else metric
        return _merge(then, tokens, compared, width, threshold, engine, merging)

    def skipped(otherwise: Graph) -> State:
        passed = (otherwise.op("Identity", value) for value in (state.sizes, state.origin))
        return State(add(otherwise), *passed)

    state = State(*g.branch(matches, merged, skipped))
    if merging.place == "layer":
        return state
    g.op("Identity", state.x, outputs=[half.between])
    return state._replace(x=pieces.append(g, half.output))


def _to_send(g: Graph, state: State, bundle: Bundle, prefix: int) -> State:
    """Less the class tokens that ran and that the head discards: all, or none."""
    dropped = prefix - bundle.prefix_tokens
    if not dropped:
        return state
    return State(g.rows(state.x, dropped), g.rows(state.sizes, dropped), g.op("Sub", state.origin, g.integer(dropped)))


def _within_limit(g: Graph, state: State, bundle: Bundle) -> State:
    prefix = bundle.prefix_tokens
    # One patch stays until the end, and then goes if only the class token has room.
    limit = g.op("Max", "max_tokens", g.integers(prefix + 1))
    state = merge_down_to(g, state, limit, bundle.width, prefix, bundle.patches, bundle.merging)
    first = (g.integers(0), "max_tokens", g.integers(0))
    return state._replace(x=g.op("Slice", state.x, *first), sizes=g.op("Slice", state.sizes, *first))
