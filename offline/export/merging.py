"""Merging as ONNX nodes: what `thinwire.nn.merging.matching` does, for one image, whose token count depends on it.

Everything goes by rows of the tokens, class tokens included, so that nothing is cut apart and joined again. Work on
whole tokens is done for those that move only.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from offline.export.graph import Graph
from thinwire.bundle import Merging
from thinwire.nn.merging.matching import MIN_WEIGHT
from thinwire.nn.merging.neighbours import NEARLY

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


def centred(g: Graph, metric: str, prefix: int) -> str:
    """A metric less the mean of the rows behind the prefix."""
    return g.op("Sub", metric, g.op("ReduceMean", g.rows(metric, prefix), g.integers(0), keepdims=1))


def match(g: Graph, metric: str, width: int, prefix: int, patches: int) -> tuple[str, str]:
    """The most similar destination of each source, by cosine.

    Args:
        metric: ``n x M``.
        width: the first so many of each row are compared.
        prefix: rows that never merge.
        patches: the most rows behind them.

    Returns:
        ``sources x 1`` best similarities and int64 rows of their destinations.
    """
    scale = g.constant(np.full(width, width**-0.5, dtype=np.float32))

    def units(row: int) -> str:
        # Rows and columns at once, so that a narrow metric costs no copy of the wide one.
        cut = g.op("Slice", metric, g.integers(row, 0), g.integers(2**62, width), g.integers(0, 1), g.integers(2, 1))
        return g.op("RMSNormalization", cut, scale, axis=-1, epsilon=NORM_EPSILON)

    similarity = g.op("Gemm", units(prefix + 1), units(prefix), transB=1)
    best, target = g.name(), g.name()
    g.op("TopK", similarity, g.integers(1), outputs=(best, target), axis=1, sorted=0)
    return best, g.op("Gather", g.constant(_destinations(prefix, patches)), target)


def match_neighbours(g: Graph, metric: str, width: int, prefix: int, patches: int) -> tuple[str, str]:
    """As `match`, but of the tokens before and after each source; see `thinwire.nn.merging.neighbours`."""
    scale = g.constant(np.full(width, width**-0.5, dtype=np.float32))
    cut = g.op("Slice", metric, g.integers(prefix, 0), g.integers(2**62, width), g.integers(0, 1))
    unit = g.op("RMSNormalization", cut, scale, axis=-1, epsilon=NORM_EPSILON)
    first = g.op("Slice", unit, g.integers(0), g.integers(-1), g.integers(0))
    beside = g.op("ReduceSum", g.op("Mul", first, g.rows(unit, 1)), g.integers(1), keepdims=1)
    before, after = g.rows(beside, 0, 2), g.rows(beside, 1, 2)
    # The last token of an even number is a source with nothing behind it.
    after = g.op("Concat", after, g.constant(np.array([[-np.inf]], dtype=np.float32)), axis=0)
    after = g.op("Slice", after, g.integers(0), g.op("Shape", before, start=0, end=1), g.integers(0))
    nearly = g.constant(np.array(NEARLY, dtype=np.float32))
    is_after = g.op("Greater", after, g.op("Add", before, nearly))
    twice = g.op("Mul", g.op("Cast", is_after, to=TensorProto.INT64), g.integer(2))
    source = g.constant(_sources(prefix, patches)[:, None])
    source = g.op("Slice", source, g.integers(0), g.op("Shape", before, start=0, end=1), g.integers(0))
    best = g.op("Where", is_after, after, before)
    return best, g.op("Add", g.op("Sub", source, g.integer(1)), twice)


def merge(g: Graph, tokens: State, source: str, target: str, rows: int, weight: str, *also: str) -> list[str]:
    """Merge rows into others, each group averaged at once; the rest keep their order.

    Args:
        source: ``k x 1`` int64 rows, each once.
        target: ``k x 1`` int64 rows, none of which is a source.
        rows: the most that there can be.
        weight: "norm" or "size".
        also: further rows that are averaged as the tokens are.

    Returns:
        the values of the new state, and ``also``.
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
    share, into = (g.op("Unsqueeze", value, g.integers(1)) for value in (share, into))

    def averaged(x: str, theirs: str, its: str) -> str:
        # x_d + sum of w_s (x_s - x_d) / w is the weighted mean, and leaves alone what nothing joins.
        update = g.op("Mul", g.op("Sub", theirs, its), share)
        return g.op("ScatterND", g.op("Gather", x, kept), into, update, reduction="add")

    more = [averaged(x, g.op("GatherND", x, source), g.op("GatherND", x, target)) for x in also]
    return [averaged(tokens.x, theirs, its), g.op("Gather", sizes, kept), origin, *more]


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
    """Merge every source whose best similarity exceeds a threshold; neighbours in as many rounds as merging has."""

    def moves(graph: Graph, compared: str) -> tuple[str, str]:
        find = match_neighbours if merging.neighbours else match
        best, target = find(graph, compared, width, prefix, patches)
        merges = graph.shaped(graph.op("Greater", best, threshold), -1)
        # Compress ignores what its condition does not reach, so one table serves every number of tokens.
        source = graph.op("Compress", graph.constant(_sources(prefix, patches)[:, None]), merges, axis=0)
        return source, graph.op("Compress", target, merges, axis=0)

    if not merging.neighbours:
        return State(*merge(g, tokens, *moves(g, metric), prefix + patches, merging.weight))
    body = Graph(g)
    names = [body.name() for _ in range(6)]
    source, into = moves(body, names[5])
    merged = merge(body, State(*names[2:5]), source, into, prefix + patches, merging.weight, names[5])
    some = body.op("Greater", body.op("Shape", source, start=0, end=1), body.integers(0))
    again = body.op("Squeeze", some, body.integers(0))
    rounds, begin = g.integer(merging.neighbours), g.constant(np.array(True))
    return State(*_loop(g, body, names, (rounds, begin, *tokens, metric), (again, *merged))[:3])


def _loop(g: Graph, body: Graph, names: Sequence[str], begin: Sequence[str], end: Sequence[str]) -> list[str]:
    """A `Loop` that carries a state and further rows.

    Args:
        names: that the body gives the number of the round, the condition, and what is carried.
        begin: the most rounds, the condition, and what is carried into the first.
        end: the condition, and what is carried into the next.
    """
    kinds: list[tuple[int, list[None]]] = [(TensorProto.INT64, []), (TensorProto.BOOL, [])]
    kinds += [(TensorProto.FLOAT, [None] * 2), (TensorProto.FLOAT, [None]), (TensorProto.INT64, [None])]
    kinds += [(TensorProto.FLOAT, [None] * 2)] * (len(names) - len(kinds))
    inputs = [helper.make_tensor_value_info(name, *kind) for name, kind in zip(names, kinds, strict=True)]
    outputs = [g.name() for _ in end[1:]]
    graph: onnx.GraphProto = body.inner(inputs, end)
    g.op("Loop", *begin, outputs=outputs, body=graph)
    return outputs


def _sources(prefix: int, patches: int) -> NDArray[np.int64]:
    return np.arange(prefix + 1, prefix + patches + 1, 2, dtype=np.int64)


def _destinations(prefix: int, patches: int) -> NDArray[np.int64]:
    return np.arange(prefix, prefix + patches, 2, dtype=np.int64)


def merge_down_to(
    g: Graph, tokens: State, limit: str, width: int, prefix: int, patches: int, merging: Merging
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
    find = match_neighbours if merging.neighbours else match
    best, target = find(body, state.x, width, prefix, patches)
    excess = body.op("Sub", body.op("Shape", state.x, start=0, end=1), limit)
    # At most every source: a round halves the patches, and the next goes on.
    count = body.op("Min", excess, body.op("Shape", best, start=0, end=1))
    chosen = body.name()
    body.op("TopK", body.shaped(best, -1), count, outputs=(body.name(), chosen), axis=0)
    source = body.op("Gather", body.constant(_sources(prefix, patches)[:, None]), chosen, axis=0)
    into = body.op("Gather", target, chosen, axis=0)
    merged = State(*merge(body, state, source, into, prefix + patches, merging.weight))
    begin = ("", too_many(g, tokens.x), *tokens)
    return State(*_loop(g, body, names, begin, (too_many(body, merged.x), *merged)))
