"""Ways to run sets of different token counts through the blocks of a transformer, against padding them all."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from experiments.harness.experiment import Experiment
from experiments.harness.in_turn import in_turn, median
from experiments.harness.options import repeated
from experiments.harness.report import Cell, Report, Table
from experiments.harness.setting import Setting
from thinwire.nn.attention import key_bias, run_block
from thinwire.nn.backbone import Block
from thinwire.nn.packed import Packing, run_packed

SETS = 32
# Name, width, heads, and tokens of the longest set.
SIZES = (("decoder, 128 wide", 128, 4, 64), ("DeiT-S, 384 wide", 384, 6, 197))
BUCKETS = (2, 4, 8)


def _nested(block: Block, x: Tensor, counts: Sequence[int]) -> Tensor:
    """Attention over PyTorch's own variable-length tensors."""
    attention = block.attn
    offsets = torch.tensor([0, *counts]).cumsum(0)
    parts = [
        torch.nested.nested_tensor_from_jagged(part.contiguous(), offsets)
        .unflatten(-1, (attention.num_heads, attention.head_dim))  # type: ignore[no-untyped-call]
        .transpose(1, 2)
        for part in attention.qkv(block.norm1(x)).chunk(3, -1)
    ]
    query, key, value = parts
    output = scaled_dot_product_attention(query, key, value, scale=attention.scale).transpose(1, 2).flatten(-2).values()
    x = x + block.ls1(attention.proj(output))
    mixed: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
    return mixed


def _padded(block: Block, rows: Sequence[Tensor]) -> Tensor:
    longest = max(len(row) for row in rows)
    valid = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
    x = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    return run_block(block, x, key_bias(valid, None, x.dtype))[valid]


def _in_buckets(block: Block, buckets: Sequence[Sequence[Tensor]]) -> Tensor:
    return torch.cat([_padded(block, one) for one in buckets])


def _ways(block: Block, rows: Sequence[Tensor]) -> dict[str, Callable[[], Any]]:
    counts = tuple(len(row) for row in rows)
    packing, x = Packing(counts, torch.device("cpu")), torch.cat(list(rows))
    ways: dict[str, Callable[[], Any]] = {"padded": lambda: _padded(block, rows)}
    for number in BUCKETS:
        buckets = [list(map(rows.__getitem__, part)) for part in np.array_split(np.arange(len(rows)), number)]
        ways[f"{number} buckets"] = partial(_in_buckets, block, buckets)
    return ways | {
        "packed": lambda: run_packed(block, x, packing),
        "nested": lambda: _nested(block, x, counts),
        "one by one": lambda: torch.cat([run_block(block, row[None])[0] for row in rows]),
    }


def _timed(way: Callable[[], Any]) -> float:
    begin = time.thread_time()
    way()
    return time.thread_time() - begin


@torch.inference_mode()
def _row(name: str, width: int, heads: int, longest: int, repetitions: int) -> dict[str, Cell]:
    """One size: the time of padding, and each way's ratio to it."""
    torch.manual_seed(0)
    block = Block(width, heads, qkv_bias=True).eval()
    # Sorted, which is best for every way.
    rows = [torch.randn(max(1, longest * number // SETS), width) for number in range(1, SETS + 1)]
    ways = _ways(block, rows)
    expected = ways["padded"]()
    for way in ways.values():
        torch.testing.assert_close(way(), expected)
    found = in_turn({key: partial(_timed, way) for key, way in ways.items()}, repetitions)
    padded = found["padded"]
    return {
        "block": name,
        "padded, ms": median(1e3 * padded),
        **{key: median(times / padded) for key, times in found.items()},
    }


def run(setting: Setting) -> Report:
    """Measure; see `EXPERIMENT`."""
    rows = [_row(*size, setting.options.repetitions) for size in SIZES]
    timed = [key for key in rows[0] if key != "block"]
    return Report([Table("Times the padded one's", rows, dict.fromkeys(timed, 2), timed)])


EXPERIMENT = Experiment(
    name="packing",
    title="Sets of different sizes through a transformer's blocks",
    about=f"""
One block of DeiT-S and one decoder block of the shipped bundle's width on {SETS} sets of mixed sizes, in every way in
turn, with one thread: each way's processor time as a ratio to padding and masking.
""",
    run=run,
    bundles=(),
    data=(),
    options=repeated(15),
)
