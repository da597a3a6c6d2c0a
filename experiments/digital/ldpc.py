"""5G's LDPC code with its rate matching (TS 38.212, 5.3.2, 5.4.2): Sionna's encoder, and our decoder on its graph."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thinwire.errors import InvalidRequestError

# Of bits that are known to be 0.
CERTAIN = 1e4
# Of the decoder's messages. Finished frames leave its batch when they are so many of it.
SCALE, LEAVE = 0.8, 0.2
# Redundancy versions: where in the circular buffer a transmission begins (table 5.4.2.1-2).
VERSIONS = [0, 1, 2, 3]


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


class LdpcCode:
    """One code: from ``bits`` to ``coded``.

    Args:
        bits: K, 12 to 8,448; what is longer would need segments.
        coded: at least K 1024/948. What is longer than the code's circular buffer begins it again.
        order: bits per symbol, over which the interleaver (5.4.2.2) spreads the word.

    Raises:
        InvalidRequestError: there is no such code.
    """

    def __init__(self, bits: int, coded: int, order: int) -> None:
        if not 12 <= bits <= 8448 or bits * 1024 > coded * 948 or coded % order:
            raise InvalidRequestError(
                f"LDPC takes 12 to 8,448 bits at a rate of at most 948/1024 into whole symbols, got {bits} bits into "
                f"{coded} at {order} per symbol"
            )
        self.bits, self.coded = bits, coded
        # Sionna sends at most five times K in one go, but any part of the buffer; where these begin only the code says.
        self._whole = min(coded, 5 * bits)
        self._encoder = encoder = _sionna().LDPC5GEncoder(bits, self._whole, device="cpu")
        self._buffer, self._starts = encoder.n_cb_comp, encoder.get_start_positions_comp(VERSIONS)
        self._sent = sent = min(coded, self._buffer)
        z, known = encoder.z, encoder.k_ldpc
        self._z, self._known = z, known
        self._interleaved, self._inverse = (np.asarray(one) for one in encoder.generate_out_int(coded, order))
        # The first two columns are never sent, filler bits neither. Columns behind the last that is sent tell nothing.
        columns = max(-(-(2 * z + sent + encoder.k_filler) // z), known // z + 4)
        checks = encoder.pcm.tocsr()
        rows = []
        for row in range(columns - known // z):
            positions = checks.indices[checks.indptr[row * z] : checks.indptr[row * z + 1]]
            rows.append([(int(position) // z, int(position) % z) for position in sorted(positions)])
        self._positions = columns * z
        self._decoder = LayeredDecoder(rows, z)

    def encode(self, bits: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``n x K`` bits as ``n x coded``.

        Raises:
            InvalidRequestError: the rows have another length than K.
        """
        if bits.shape[1] != self.bits:
            raise InvalidRequestError(f"the code takes {self.bits} bits, got {bits.shape[1]}")
        with torch.inference_mode():
            parts = self._encoder(torch.from_numpy(bits.astype(np.float32)), rv=VERSIONS).numpy().astype(np.uint8)
        buffer = np.zeros((len(bits), self._buffer), dtype=np.uint8)
        for part, start in zip(parts.transpose(1, 0, 2), self._starts, strict=True):
            buffer[:, (start + np.arange(self._whole)) % self._buffer] = part
        word: NDArray[np.uint8] = buffer[:, np.arange(self.coded) % self._sent][:, self._interleaved]
        return word

    def decode(self, soft: NDArray[np.float32]) -> NDArray[np.uint8]:
        """The likely bits, ``n x K``.

        Args:
            soft: ``n x coded`` log-likelihood ratios, positive for 0.

        Raises:
            InvalidRequestError: the rows have another length.
        """
        if soft.shape[1] != self.coded:
            raise InvalidRequestError(f"the code's words have {self.coded} bits, got {soft.shape[1]}")
        received = soft[:, self._inverse]
        word = np.zeros((len(soft), self._sent), dtype=np.float32)
        for start in range(0, self.coded, self._sent):
            part = received[:, start : start + self._sent]
            word[:, : part.shape[1]] += part
        unsent, systematic = 2 * self._z, self.bits - 2 * self._z
        all_soft = np.zeros((self._positions, len(soft)), dtype=np.float32)
        all_soft[unsent : self.bits] = word[:, :systematic].T
        all_soft[self.bits : self._known] = CERTAIN
        all_soft[self._known : self._known + self._sent - systematic] = word[:, systematic:].T
        decided = self._decoder.decode(torch.from_numpy(all_soft))
        return decided[: self.bits].T.numpy().astype(np.uint8)


# Each made once.
ldpc_code = cache(LdpcCode)


@cache
def _sionna() -> Any:
    # Its import takes seconds and draws from torch's generator, which must not depend on who compares with what.
    with torch.random.fork_rng(devices=[]):
        from sionna.phy.fec import ldpc  # type: ignore[import-untyped]

        return ldpc
