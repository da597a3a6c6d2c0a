"""Sets of tokens of different sizes without padding: the rows of all of them below each other."""

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor

from thinwire.nn.attention import key_bias


@dataclass(frozen=True)
class Packing:
    """How many rows each set has, in the order of the sets; each at least one.

    All that works on single tokens runs on the ``T x D`` rows at once; only attention has to know the sets. On CPUs it
    runs set by set, those of equal size that stand together as one, so it pays to sort sets by size. On other devices,
    where launching costs more than computing, it runs on all sets, padded and masked. `thinwire reproduce
    packing` measures it, nested tensors and buckets included.
    """

    counts: tuple[int, ...]
    device: torch.device

    @cached_property
    def owner(self) -> Tensor:
        """``T`` int64: the set that each row belongs to."""
        counts = torch.tensor(self.counts, device=self.device)
        return torch.repeat_interleave(torch.arange(len(self.counts), device=self.device), counts)

    @cached_property
    def valid(self) -> Tensor:
        """``sets x longest`` bool, false for the padding of `padded`."""
        counts = torch.tensor(self.counts, device=self.device)
        return torch.arange(max(self.counts), device=self.device) < counts[:, None]

    def per_set(self, rows: Tensor) -> Tensor:
        """Sums of ``T x ...`` rows over each set."""
        return rows.new_zeros(len(self.counts), *rows.shape[1:]).index_add_(0, self.owner, rows)

    def softmax(self, logits: Tensor) -> Tensor:
        """``T`` shares from ``T`` logits; those of each set sum to 1."""
        highest = logits.new_full((len(self.counts),), float("-inf")).scatter_reduce_(0, self.owner, logits, "amax")
        shares = (logits - highest[self.owner]).exp()
        return shares / self.per_set(shares)[self.owner]

    @cached_property
    def _starts(self) -> Tensor:
        return torch.tensor((0, *self.counts[:-1]), device=self.device).cumsum(0)

    @cached_property
    def position(self) -> Tensor:
        """``T`` int64: the place of each row in its set, from 0."""
        return torch.arange(sum(self.counts), device=self.device) - self._starts[self.owner]

    def first(self, rows: Tensor) -> Tensor:
        """The first row of each set."""
        return rows[self._starts]

    def padded(self, rows: Tensor) -> Tensor:
        """``T x ...`` rows as ``sets x longest x ...``, each set's at the front of its own and zeros behind."""
        room = rows.new_zeros(*self.valid.shape, *rows.shape[1:])
        room[self.valid] = rows
        return room

    def attend(self, query: Tensor, key: Tensor, value: Tensor, scale: float, sizes: Tensor | None = None) -> Tensor:
        """Attention of each row over those of its set.

        Args:
            query: ``T x heads x head_dim``; likewise ``key`` and ``value``.
            scale: of the products of queries and keys.
            sizes: ``T`` token sizes for proportional attention, or None; see `key_bias`.

        Returns:
            ``T x (heads head_dim)``.
        """
        if self.device.type == "cpu":
            return self._set_by_set(query, key, value, scale, sizes)
        return self._padded(query, key, value, scale, sizes)

    def _set_by_set(self, query: Tensor, key: Tensor, value: Tensor, scale: float, sizes: Tensor | None) -> Tensor:
        output = torch.empty_like(query)
        start = 0
        for count, group in groupby(self.counts):
            sets = sum(1 for _ in group)
            rows = slice(start, start + sets * count)
            start = rows.stop
            shape = (sets, count, *query.shape[1:])
            q, k, v = (part[rows].reshape(shape).transpose(1, 2) for part in (query, key, value))
            bias = None if sizes is None else key_bias(None, sizes[rows].reshape(sets, count), query.dtype)
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
            output[rows] = attended.transpose(1, 2).flatten(0, 1)
        return output.flatten(1)

    def _padded(self, query: Tensor, key: Tensor, value: Tensor, scale: float, sizes: Tensor | None) -> Tensor:
        bias = key_bias(self.valid, None if sizes is None else self.padded(sizes), query.dtype)
        q, k, v = (self.padded(part).transpose(1, 2) for part in (query, key, value))
        output = F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
        return output.transpose(1, 2)[self.valid].flatten(1)


def run_packed(block: Block, x: Tensor, packing: Packing, sizes: Tensor | None = None) -> Tensor:
    """timm's ``Block.forward`` in evaluation mode on ``T x D`` rows; what `run_block` gives each set alone.

    Args:
        sizes: as for `Packing.attend`.
    """
    x = x + block.ls1(_attend(block.attn, block.norm1(x), packing, sizes))
    output: Tensor = x + block.ls2(block.mlp(block.norm2(x)))
    return output


def _attend(attention: Attention, x: Tensor, packing: Packing, sizes: Tensor | None) -> Tensor:
    shape = (len(x), 3, attention.num_heads, attention.head_dim)
    query, key, value = attention.qkv(x).reshape(shape).unbind(1)
    output = packing.attend(attention.q_norm(query), attention.k_norm(key), value, attention.scale, sizes)
    output = attention.norm(output)
    if attention.gate is not None:
        output = output * attention.gate(x).sigmoid()
    result: Tensor = attention.proj(output)
    return result
