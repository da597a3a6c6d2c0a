"""Belief propagation on a quasi-cyclic code, many frames at once."""

from collections.abc import Sequence

import torch
from torch import Tensor

SCALE = 0.8
# Finished frames leave the batch when they are so many of it.
LEAVE = 0.2


class LayeredDecoder:
    """Layered normalised min-sum decoding (Hocevar, 2004; Chen and Fossorier, 2002).

    A row of the base matrix is a layer: its z checks share no bit, so they are updated together. A frame stops as soon
    as all of its checks hold.

    Args:
        rows: for each row of the base matrix, its columns and the shifts of their circulants: check r of the row sees
            bit ``(r + shift) mod z`` of the column.
        z: size of the circulants.
    """

    def __init__(self, rows: Sequence[Sequence[tuple[int, int]]], z: int) -> None:
        check = torch.arange(z)
        self._bits = [torch.cat([column * z + (check + shift) % z for column, shift in row]).long() for row in rows]
        self._degrees = [len(row) for row in rows]
        self._z = z

    @torch.inference_mode()
    def decode(self, soft: Tensor, iterations: int = 25) -> Tensor:
        """Hard decisions on all bits.

        Args:
            soft: ``bits x frames`` float32 log-likelihood ratios, positive for 0.
            iterations: at most so many.

        Returns:
            ``bits x frames`` bool.
        """
        decided = soft < 0
        members = torch.arange(soft.shape[1])
        beliefs = soft.clone()
        messages = [soft.new_zeros(degree, self._z, soft.shape[1]) for degree in self._degrees]
        for _ in range(iterations):
            for layer in range(len(messages)):
                self._update(layer, beliefs, messages)
            decided[:, members] = beliefs < 0
            open_ones = self._broken(beliefs < 0)
            left = int(open_ones.sum())
            if not left:
                break
            if left <= (1 - LEAVE) * len(members):
                members, beliefs = members[open_ones], beliefs[:, open_ones]
                messages = [each[..., open_ones] for each in messages]
        return decided

    def _update(self, layer: int, beliefs: Tensor, messages: list[Tensor]) -> None:
        bits, shape = self._bits[layer], messages[layer].shape
        incoming = beliefs.index_select(0, bits).view(shape) - messages[layer]
        magnitude = incoming.abs()
        least, where = magnitude.min(dim=0, keepdim=True)
        second = magnitude.scatter_(0, where, torch.inf).amin(dim=0, keepdim=True)
        negative = incoming < 0
        odd = negative.sum(dim=0, keepdim=True) % 2 == 1
        outgoing = least.expand(shape).scatter(0, where, second) * SCALE
        outgoing = torch.where(negative ^ odd, -outgoing, outgoing)
        messages[layer] = outgoing
        beliefs.index_copy_(0, bits, (incoming + outgoing).view(-1, shape[-1]))

    def _broken(self, decided: Tensor) -> Tensor:
        """For each frame, whether a check fails."""
        broken = torch.zeros(decided.shape[1], dtype=torch.bool)
        values = decided.to(torch.uint8)
        for bits, degree in zip(self._bits, self._degrees, strict=True):
            ones = values.index_select(0, bits).view(degree, self._z, -1).sum(dim=0)
            broken |= (ones % 2 == 1).any(dim=0)
        return broken
