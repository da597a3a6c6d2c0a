"""Merging as ONNX nodes: what `edge.torch_engine.matching` does, for one image, whose token count depends on it.

Everything goes by rows of the tokens, class tokens included, so that nothing is cut apart and joined again. Work on
whole tokens is done for those that move only.
"""

from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from edge.torch_engine.matching import MIN_WEIGHT
from offline.onnx_export.graph import Graph

# Under the square root of the mean square, which is what the cosine divides by; far below any that is not zero.
NORM_EPSILON = 1e-24


class State(NamedTuple):
    """Tokens between two layers.

    Attributes:
        x: ``n x D`` tokens, those of the prefix first.
        sizes: ``n`` patches in each, as float32; 1 for the prefix.
        origin: ``patches`` int64, the row that each patch went into.
    """

    x: str
    sizes: str
    origin: str


def match(g: Graph, metric: str, width: int, prefix: int) -> tuple[str, str]:
    """The most similar destination of each source, by cosine.

    Args:
        metric: ``n x width``.

    Returns:
        ``sources x 1`` best similarities and int64 indices of their destinations.
    """
    scale = g.constant(np.full(width, width**-0.5, dtype=np.float32))
    unit = g.op("RMSNormalization", metric, scale, axis=-1, epsilon=NORM_EPSILON)
    similarity = g.op("Gemm", g.rows(unit, prefix + 1, 2), g.rows(unit, prefix, 2), transB=1)
    best, target = g.name(), g.name()
    g.op("TopK", similarity, g.integers(1), outputs=(best, target), axis=1, sorted=0)
    return best, target


def merge(g: Graph, tokens: State, source: str, target: str, weight: str) -> State:
    """Merge rows into others, each group averaged at once; the rest keep their order.

    Args:
        source: ``k`` int64 rows, each once.
        target: ``k`` int64 rows, none of which is a source.
        weight: "norm" or "size".
    """
    moved = g.op("Gather", tokens.sizes, source)
    rows = g.op("Unsqueeze", g.op("Concat", source, target, axis=0), g.integers(1))
    # Whole numbers, so that a source is left with exactly nothing.
    change = g.op("Concat", g.op("Neg", moved), moved, axis=0)
    sizes = g.op("ScatterND", tokens.sizes, rows, change, reduction="add")
    kept = g.shaped(g.op("NonZero", sizes), -1)
    rank = g.op("CumSum", g.op("Sign", sizes), g.integer(0), exclusive=1)
    rank = g.op("Cast", rank, to=TensorProto.INT64)
    into = g.op("Gather", rank, target)
    lost = g.op("Unsqueeze", source, g.integers(1))
    origin = g.op("Gather", g.op("ScatterND", rank, lost, into), tokens.origin)
    theirs, its = g.op("Gather", tokens.x, source), g.op("Gather", tokens.x, target)
    if weight == "size":
        share = g.op("Div", moved, g.op("Gather", sizes, target))
    else:
        share = _share_of_norms(g, tokens.sizes, theirs, its, target)
    # x_d + sum of w_s (x_s - x_d) / w is the weighted mean, and leaves alone what nothing joins.
    update = g.op("Mul", g.op("Sub", theirs, its), g.op("Unsqueeze", share, g.integers(1)))
    x = g.op("Gather", tokens.x, kept)
    x = g.op("ScatterND", x, g.op("Unsqueeze", into, g.integers(1)), update, reduction="add")
    return State(x, g.op("Gather", sizes, kept), origin)


def _share_of_norms(g: Graph, sizes: str, theirs: str, its: str, target: str) -> str:
    least = g.constant(np.array(MIN_WEIGHT, dtype=np.float32))
    source_weight, weight = (
        g.op("Max", g.op("ReduceL2", x, g.integers(1), keepdims=0), least) for x in (theirs, its)
    )
    nothing = g.op("Sub", sizes, sizes)
    joined = g.op("ScatterND", nothing, g.op("Unsqueeze", target, g.integers(1)), source_weight, reduction="add")
    return g.op("Div", source_weight, g.op("Add", weight, g.op("Gather", joined, target)))


def merge_above(
    g: Graph, tokens: State, metric: str, width: int, threshold: str, prefix: int, patches: int, weight: str
) -> State:
    """Merge every source whose best similarity exceeds a threshold."""
    best, target = match(g, metric, width, prefix)
    merges = g.shaped(g.op("Greater", best, threshold), -1)
    # Compress ignores what its condition does not reach, so one table serves every number of tokens.
    table = g.constant(np.arange(prefix + 1, prefix + patches + 1, 2, dtype=np.int64))
    source = g.op("Compress", table, merges, axis=0)
    into = g.shaped(g.op("Compress", target, merges, axis=0), -1)
    return merge(g, tokens, source, _row(g, into, prefix, patches), weight)


def _row(g: Graph, destination: str, prefix: int, patches: int) -> str:
    return g.op("Gather", g.constant(np.arange(prefix, prefix + patches, 2, dtype=np.int64)), destination)


def merge_down_to(
    g: Graph, tokens: State, limit: str, width: int, prefix: int, patches: int, weight: str
) -> State:
    """Merge by the cosine of the hidden states, in repeated rounds, until there are no more rows than a limit.

    Args:
        limit: int64 vector of one row number, above ``prefix``.
    """

    def too_many(graph: Graph, x: str) -> str:
        more = graph.op("Greater", graph.op("Shape", x, start=0, end=1), limit)
        return graph.op("Squeeze", more, graph.integers(0))

    body = Graph(g)
    names = [body.name() for _ in range(5)]
    state = State(*names[2:])
    best, target = match(body, state.x, width, prefix)
    excess = body.op("Sub", body.op("Shape", state.x, start=0, end=1), limit)
    # At most every source: a round halves the patches, and the next goes on.
    count = body.op("Min", excess, body.op("Shape", best, start=0, end=1))
    chosen = body.name()
    body.op("TopK", body.shaped(best, -1), count, outputs=(body.name(), chosen), axis=0)
    table = body.constant(np.arange(prefix + 1, prefix + patches + 1, 2, dtype=np.int64))
    source = body.op("Gather", table, chosen)
    into = body.op("Gather", body.shaped(target, -1), chosen)
    merged = merge(body, state, source, _row(body, into, prefix, patches), weight)
    inputs = [
        helper.make_tensor_value_info(names[0], TensorProto.INT64, []),
        helper.make_tensor_value_info(names[1], TensorProto.BOOL, []),
        helper.make_tensor_value_info(names[2], TensorProto.FLOAT, [None, width]),
        helper.make_tensor_value_info(names[3], TensorProto.FLOAT, [None]),
        helper.make_tensor_value_info(names[4], TensorProto.INT64, [None]),
    ]
    again = too_many(body, merged.x)
    graph: onnx.GraphProto = body.inner(inputs, [again, *merged])
    outputs = [g.name() for _ in State._fields]
    g.op("Loop", "", too_many(g, tokens.x), *tokens, outputs=outputs, body=graph)
    return State(*outputs)
