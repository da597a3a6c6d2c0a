"""A batch of token sets of different sizes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


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

    def without_patches(self) -> "Tokens":
        """Only the prefix tokens; every patch's origin becomes far below zero."""
        return replace(
            self,
            x=self.x[:, :0],
            counts=torch.zeros_like(self.counts),
            sizes=self.sizes[:, :0],
            origin=torch.full_like(self.origin, -1 - self.prefix.shape[1]),
        )

    def padding_mask(self) -> Tensor | None:
        """``batch x (P + N)`` bool, false for padding, or None where nothing is padded."""
        valid = self.valid
        if bool(valid.all()):
            return None
        return torch.cat((valid.new_ones(self.prefix.shape[:2]), valid), dim=1)
