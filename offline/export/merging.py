"""Merging as ONNX nodes: what `thinwire.nn.merging.matching` does, for one image, whose token count depends on it.

Everything goes by rows of the tokens, class tokens included, so that nothing is cut apart and joined again. Work on
whole tokens is done for those that move only.
"""

from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from offline.export.graph import Graph
from thinwire.bundle import Merging
from thinwire.nn.merging.matching import MIN_WEIGHT

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


def match(g: Graph, metric: str, width: int, prefix: int, is_centred: bool = False) -> tuple[str, str]:
    """The most similar destination of each source, by cosine.

    Args:
        metric: ``n x M``.
        width: the first so many of each row are compared.
        is_centred: whether the mean of the rows behind the prefix is taken off first.

    Returns:
        ``sources x 1`` best similarities and int64 indices of their destinations.
    """
    if is_centred:
        mean = g.op("ReduceMean", g.rows(metric, prefix), g.integers(0), keepdims=1)
        metric = g.op("Sub", metric, mean)
    scale = g.constant(np.full(width, width**-0.5, dtype=np.float32))

    def units(row: int) -> str:
        # Rows and columns at once, so that a narrow metric costs no copy of the wide one.
        cut = g.op("Slice", metric, g.integers(row, 0), g.integers(2**62, width), g.integers(0, 1), g.integers(2, 1))
        return g.op("RMSNormalization", cut, scale, axis=-1, epsilon=NORM_EPSILON)

    similarity = g.op("Gemm", units(prefix + 1), units(prefix), transB=1)
    best, target = g.name(), g.name()
    g.op("TopK", similarity, g.integers(1), outputs=(best, target), axis=1, sorted=0)
    return best, target


def merge(g: Graph, tokens: State, source: str, target: str, rows: int, weight: str) -> State:
    """Merge rows into others, each group averaged at once; the rest keep their order.

    Args:
        source: ``k x 1`` int64 rows, each once.
        target: ``k x 1`` int64 rows, none of which is a source.
        rows: the most that there can be.
        weight: "norm" or "size".
    """
    moved = g.op("GatherND", tokens.sizes, source)
    sizes = g.op("ScatterND", tokens.sizes, target, moved, reduction="add")
    # Whole numbers, so that a source is left with exactly nothing.
    sizes = g.op("ScatterND", sizes, source, g.op("Neg", moved), reduction="add")
    kept = g.shaped(g.op("NonZero", sizes), -1)
    rank = g.op("CumSum", g.op("Sign", sizes), g.integer(0), exclusive=1)
    rank = g.op("Cast", rank, to=TensorProto.INT64)
    into = g.op("GatherND", rank, target)
    origin = g.op("Gather", g.op("ScatterND", rank, source, into), tokens.origin)
    theirs, its = g.op("GatherND", tokens.x, source), g.op("GatherND", tokens.x, target)
    if weight == "size":
        share = g.op("Div", moved, g.op("GatherND", sizes, target))
    else:
        share = _share_of_norms(g, theirs, its, target, rows)
    # x_d + sum of w_s (x_s - x_d) / w is the weighted mean, and leaves alone what nothing joins.
    update = g.op("Mul", g.op("Sub", theirs, its), g.op("Unsqueeze", share, g.integers(1)))
    x = g.op("Gather", tokens.x, kept)
    x = g.op("ScatterND", x, g.op("Unsqueeze", into, g.integers(1)), update, reduction="add")
    return State(x, g.op("Gather", sizes, kept), origin)


def _share_of_norms(g: Graph, theirs: str, its: str, target: str, rows: int) -> str:
    # ReduceL2 takes four times as long.
    squares = (g.op("ReduceSum", g.op("Mul", x, x), g.integers(1), keepdims=0) for x in (theirs, its))
    added, weight = (g.op("Sqrt", square) for square in squares)
    nothing = g.constant(np.zeros(rows, dtype=np.float32))
    joined = g.op("GatherND", g.op("ScatterND", nothing, target, added, reduction="add"), target)
    # Zero vectors only: whatever their shares, their average is zero.
    total = g.op("Max", g.op("Add", weight, joined), g.constant(np.array(MIN_WEIGHT, dtype=np.float32)))
    return g.op("Div", added, total)


def merge_above(
    g: Graph, tokens: State, metric: str, width: int, threshold: str, prefix: int, patches: int, merging: Merging
) -> State:
    """Merge every source whose best similarity exceeds a threshold."""
    best, target = match(g, metric, width, prefix, merging.is_centred)
    merges = g.shaped(g.op("Greater", best, threshold), -1)
    # Compress ignores what its condition does not reach, so one table serves every number of tokens.
    source = g.op("Compress", g.constant(_sources(prefix, patches)[:, None]), merges, axis=0)
    into = g.op("Compress", target, merges, axis=0)
    into = g.op("Gather", g.constant(_destinations(prefix, patches)), into)
    return merge(g, tokens, source, into, prefix + patches, merging.weight)


def _sources(prefix: int, patches: int) -> NDArray[np.int64]:
    return np.arange(prefix + 1, prefix + patches + 1, 2, dtype=np.int64)


def _destinations(prefix: int, patches: int) -> NDArray[np.int64]:
    return np.arange(prefix, prefix + patches, 2, dtype=np.int64)


def merge_down_to(g: Graph, tokens: State, limit: str, width: int, prefix: int, patches: int, weight: str) -> State:
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
    chosen = body.op("Unsqueeze", chosen, body.integers(1))
    source = body.op("Gather", body.constant(_sources(prefix, patches)), chosen)
    into = body.op("Gather", body.shaped(target, -1), chosen)
    into = body.op("Gather", body.constant(_destinations(prefix, patches)), into)
    merged = merge(body, state, source, into, prefix + patches, weight)
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
