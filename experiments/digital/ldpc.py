"""5G's LDPC code with its rate matching (TS 38.212, 5.3.2, 5.4.2): Sionna's encoder, and our decoder on its graph."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.digital.layered_decoder import LayeredDecoder
from thinwire.errors import InvalidRequestError

# Of bits that are known to be 0.
CERTAIN = 1e4
# Redundancy versions: where in the circular buffer a transmission begins (table 5.4.2.1-2).
VERSIONS = [0, 1, 2, 3]


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


@cache
def ldpc_code(bits: int, coded: int, order: int) -> LdpcCode:
    """`LdpcCode`, made once."""
    return LdpcCode(bits, coded, order)


@cache
def _sionna() -> Any:
    # Its import takes seconds and draws from torch's generator, which must not depend on who compares with what.
    with torch.random.fork_rng(devices=[]):
        from sionna.phy.fec import ldpc  # type: ignore[import-untyped]

        return ldpc
