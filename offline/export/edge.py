"""The device's whole side as one ONNX graph that serves every policy."""

import json
from dataclasses import asdict
from typing import Any, NamedTuple, cast

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from edge.torch_engine import TorchEngine
from offline.export.graph import Graph
from offline.export.merging import State, merge_above, merge_down_to
from offline.export.pieces import Pieces, make_model
from thinwire.bundle import Bundle, Merging
from thinwire.errors import BundleError
from thinwire.exports import EDGE_INPUTS, EDGE_OUTPUTS, FORMAT, METADATA
from thinwire.images import Preprocessing
from thinwire.macs import LayerMacs
from thinwire.nn.attention import key_bias
from thinwire.nn.codec.encoder import JsccEncoder
from thinwire.nn.towers.interface import ImageTower, RotaryTower, Tower


class Halves(NamedTuple):
    """The values that one layer reads and gives; ``sizes`` is none without proportional attention, ``centres`` without
    rotary positions."""

    entering: str
    sizes: str | None
    between: str
    attended: str
    metric: str
    output: str
    centres: str | None


class Normalise(nn.Module):
    """`thinwire.images.normalise` with one product and one sum per pixel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        mean, std = (
            torch.tensor(values, dtype=torch.float64)[:, None, None]
            for values in (preprocessing.mean, preprocessing.std)
        )
        self.register_buffer("scale", (1 / (255 * std)).float())
        self.register_buffer("shift", (-mean / std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """``size x size x 3`` uint8 to ``1 x 3 x size x size``."""
        return self.batch(pixels[None])

    def batch(self, pixels: Tensor) -> Tensor:
        """``images x size x size x 3`` uint8 to ``images x 3 x size x size``."""
        images: Tensor = pixels.permute(0, 3, 1, 2).float() * self.scale + self.shift
        return images


class _Parts(nn.Module):
    """Everything that the device runs but merging, each part by itself."""

    def __init__(
        self, tower: Tower, layers: int, merging: Merging, preprocessing: Preprocessing, encoder: JsccEncoder
    ) -> None:
        super().__init__()
        self.tower, self.layers, self.merging = tower, layers, merging
        self.held = tower.module
        self.encoder = encoder
        self.normalise = Normalise(preprocessing)

    def forward(
        self,
        pixels: Tensor,
        entering: list[Tensor],
        between: list[Tensor],
        sizes: list[Tensor],
        centres: list[Tensor],
        sent: Tensor,
        sent_sizes: Tensor,
        snr_db: Tensor,
        symbols_per_token: Tensor,
    ) -> list[Tensor]:
        outputs = [self.tower.embed(self.normalise(pixels)).squeeze(0)]
        for layer in range(self.layers):
            bias = key_bias(None, sizes[layer][None], torch.float32) if sizes else None
            x = entering[layer][None]
            if centres:
                attended = cast(RotaryTower, self.tower).attend_at(layer, x, bias, centres[layer][None])
            else:
                attended = self.tower.attend(layer, x, bias)
            outputs.append(attended.output.squeeze(0))
            heads = attended.values if self.merging.metric.startswith("value") else attended.keys
            metric = heads.mean(1) if self.merging.metric == "key_mean" else heads.transpose(1, 2).flatten(2)
            outputs.append(metric.squeeze(0))
            outputs.append(self.tower.mlp(layer, between[layer][None]).squeeze(0))
        valid = torch.ones(1, sent.shape[0], dtype=torch.bool)
        pairs = self.encoder.pairs(sent[None], sent_sizes[None], valid, snr_db, symbols_per_token)
        outputs.append(pairs.squeeze(0).flatten(1))
        return outputs


def export_edge(engine: TorchEngine) -> onnx.ModelProto:
    """The device's side of a bundle as one graph.

    Thresholds, rate, SNR and the most tokens are inputs, so that any policy runs on it. The inputs and outputs are
    those of `thinwire.exports.EDGE_INPUTS` and `EDGE_OUTPUTS`.

    Args:
        engine: in torch, whose function the graph is.

    Raises:
        BundleError: its layers merge neighbours, which is not exported.
    """
    bundle, tower = engine.bundle, engine.tower
    if bundle.merging.neighbours:
        raise BundleError(
            f"bundle {bundle.name}: merging.neighbours: expected 0 to export, got {bundle.merging.neighbours}"
        )
    layers, prefix = bundle.split_layer, tower.prefix_tokens
    pieces, halves = _export(engine)
    g = Graph()
    matches = g.split(g.op("Less", "thresholds", g.constant(np.array(1, dtype=np.float32))), layers)
    thresholds = g.split("thresholds", layers)
    x = pieces.append(g, pieces.outputs[0])
    count = prefix + bundle.patches
    state = State(
        x,
        g.constant(np.ones(count, dtype=np.float32)),
        g.constant(np.arange(prefix, count, dtype=np.int64)),
    )
    counts = []
    for layer, half in enumerate(halves):
        gate = matches[layer], thresholds[layer]
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
    size = bundle.preprocessing.size
    shapes: dict[str, list[Any]] = {
        "pixels": [size, size, cast(ImageTower, tower).channels],
        "thresholds": [layers],
        "merge_map": [bundle.patches],
        "counts": [layers],
    }
    return make_model(
        g,
        pieces,
        [helper.make_tensor_value_info(name, _TYPES[kind], shapes.get(name, [1])) for name, kind in EDGE_INPUTS],
        [
            helper.make_tensor_value_info(name, _TYPES[kind], shapes.get(name, ["tokens", "values"][:rank]))
            for name, kind, rank in EDGE_OUTPUTS
        ],
        {METADATA: json.dumps(_metadata(engine))},
    )


_TYPES = {"uint8": TensorProto.UINT8, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def _metadata(engine: TorchEngine) -> dict[str, Any]:
    cost = asdict(engine.cost)
    del cost["merging"]
    return {
        "format": FORMAT,
        "bundle": engine.bundle.digest,
        "least_tokens": engine.least_tokens,
        "cost": cost | {"layers": [list(layer) for layer in engine.cost.layers]},
    }


def _export(engine: TorchEngine) -> tuple[Pieces, list[Halves]]:
    bundle, tower = engine.bundle, engine.tower
    layers, width, count = bundle.split_layer, tower.width, tower.prefix_tokens + bundle.patches
    size, biased = bundle.preprocessing.size, bundle.merging.proportional_attention
    arguments = {
        "pixels": torch.zeros(size, size, cast(ImageTower, tower).channels, dtype=torch.uint8),
        "entering": [torch.randn(count, width) for _ in range(layers)],
        "between": [torch.randn(count, width) for _ in range(layers)],
        "sizes": [torch.ones(count) for _ in range(layers if biased else 0)],
        "centres": [torch.ones(count, 3) for _ in range(layers if _is_rotary(tower) else 0)],
        "sent": torch.randn(count, width),
        "sent_sizes": torch.ones(count),
        "snr_db": torch.tensor([10.0]),
        "symbols_per_token": torch.tensor([bundle.codec.max_symbols_per_token]),
    }
    dynamic = dict.fromkeys(("entering", "between", "sizes", "centres", "sent", "sent_sizes"), (0,))
    if _is_rotary(tower):
        # The angles are read off the library's own table once, at the first use, which no tracing sees through.
        cast(RotaryTower, tower).attend_at(0, torch.zeros(1, 1, width), None, torch.zeros(1, 1, 3))
    module = _Parts(tower, layers, bundle.merging, bundle.preprocessing, engine.encoder)
    pieces = Pieces(module, arguments, dynamic)
    lists = 1 + 2 * layers + (layers if biased else 0)
    halves = [
        Halves(
            pieces.inputs[1 + layer],
            pieces.inputs[1 + 2 * layers + layer] if biased else None,
            pieces.inputs[1 + layers + layer],
            *cast(tuple[str, str, str], pieces.outputs[1 + 3 * layer : 4 + 3 * layer]),
            pieces.inputs[lists + layer] if _is_rotary(tower) else None,
        )
        for layer in range(layers)
    ]
    return pieces, halves


def _is_rotary(tower: Tower) -> bool:
    return isinstance(tower, RotaryTower) and tower.rotary


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
    bundle, prefix = engine.bundle, engine.tower.prefix_tokens
    merging = bundle.merging
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
        return merge_above(then, tokens, metric, width, threshold, prefix, bundle.patches, merging)

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
    state = merge_down_to(g, state, limit, bundle.width, prefix, bundle.patches, bundle.merging.weight)
    first = (g.integers(0), "max_tokens", g.integers(0))
    return state._replace(x=g.op("Slice", state.x, *first), sizes=g.op("Slice", state.sizes, *first))
