"""A batch of token sets of different sizes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Tokens:
    """Tokens of a batch of images, each image's at the front of its row, padded to the longest.

    Attributes:
        prefix: ``batch x P x D`` class and register tokens, which never merge.
        x: ``batch x N x D`` patch tokens in raster order.
        counts: ``batch`` int64, how many rows of ``x`` each image has.
        sizes: ``batch x N`` patches in each token, of the dtype of ``x``.
        origin: ``batch x patches`` int64, the row of ``x`` that each patch went into; negative if it is not sent.
        margin: ``batch`` smallest distance of any decision so far from going the other way, as a similarity.
    """

    prefix: Tensor
    x: Tensor
    counts: Tensor
    sizes: Tensor
    origin: Tensor
    margin: Tensor

    @classmethod
    def from_embedding(cls, embedded: Tensor, prefix_tokens: int) -> "Tokens":
        """Tokens of size 1 from a ``batch x (P + patches) x D`` embedding, in which nothing is padded."""
        prefix, x = embedded[:, :prefix_tokens], embedded[:, prefix_tokens:]
        batch, patches = x.shape[:2]
        device = x.device
        return cls(
            prefix,
            x,
            torch.full((batch,), patches, device=device),
            torch.ones(batch, patches, dtype=x.dtype, device=device),
            torch.arange(patches, device=device).expand(batch, patches),
            torch.full((batch,), float("inf"), dtype=x.dtype, device=device),
        )

    @property
    def valid(self) -> Tensor:
        """``batch x N`` bool, false for padding."""
        return torch.arange(self.x.shape[1], device=self.x.device) < self.counts[:, None]

    @property
    def all_sizes(self) -> Tensor:
        """``batch x (P + N)`` sizes with those of the prefix, which are 1."""
        return torch.cat((self.sizes.new_ones(self.prefix.shape[:2]), self.sizes), dim=1)

    def centres(self, grid: Tensor) -> Tensor:
        """Where the tokens stand: the mean of a table over the patches of each.

        Args:
            grid: ``patches x 3``, as `thinwire.nn.towers.rotary.homogeneous_grid` gives it.

        Returns:
            ``batch x (P + N) x 3``; zeros for the prefix.
        """
        batch, rows = self.x.shape[:2]
        table = grid.to(self.x).expand(batch, -1, -1)
        sums = table.new_zeros(batch, rows, table.shape[-1])
        sums = sums.scatter_add(1, self.origin[..., None].expand_as(table), table)
        centres = sums / self.sizes[..., None]
        return torch.cat((centres.new_zeros(*self.prefix.shape[:2], centres.shape[-1]), centres), dim=1)

    @classmethod
    def concatenate(cls, parts: Sequence["Tokens"]) -> "Tokens":
        """One batch of several, padded to the longest."""
        longest = max(part.x.shape[1] for part in parts)
        return cls(
            prefix=torch.cat([part.prefix for part in parts]),
            x=torch.cat([pad(part.x, (0, 0, 0, longest - part.x.shape[1])) for part in parts]),
            counts=torch.cat([part.counts for part in parts]),
            # Padding has a size too, since the encoder takes the logarithm before it masks.
            sizes=torch.cat([pad(part.sizes, (0, longest - part.sizes.shape[1]), value=1) for part in parts]),
            origin=torch.cat([part.origin for part in parts]),
            margin=torch.cat([part.margin for part in parts]),
        )

    def take(self, images: Tensor) -> "Tokens":
        """Some of the images, by their int64 indices."""
        return Tokens(
            self.prefix[images],
            self.x[images],
            self.counts[images],
            self.sizes[images],
            self.origin[images],
            self.margin[images],
        )

    def split(self, images: int) -> list["Tokens"]:
        """Consecutive parts of so many images, the last of what is left."""
        return [self.take(part) for part in torch.split(torch.arange(len(self.x), device=self.x.device), images)]

    def trimmed(self) -> "Tokens":
        """Without the rows that pad every image."""
        longest = int(self.counts.max())
        return replace(self, x=self.x[:, :longest], sizes=self.sizes[:, :longest])

    def without_patches(self) -> "Tokens":
        """Only the prefix tokens; every patch's origin becomes far below zero."""
        return replace(
            self,
            x=self.x[:, :0],
            counts=torch.zeros_like(self.counts),
            sizes=self.sizes[:, :0],
            origin=torch.full_like(self.origin, -1 - self.prefix.shape[1]),
        )

    def with_prefix(self, tokens: int) -> "Tokens":
        """Only the first so many of the prefix tokens."""
        return replace(self, prefix=self.prefix[:, :tokens])

    def padding_mask(self) -> Tensor | None:
        """``batch x (P + N)`` bool, false for padding, or None where nothing is padded."""
        valid = self.valid
        if bool(valid.all()):
            return None
        return torch.cat((valid.new_ones(self.prefix.shape[:2]), valid), dim=1)
