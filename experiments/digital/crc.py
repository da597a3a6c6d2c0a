"""Cyclic redundancy checks of 5G (TS 38.212, 5.1) by Sionna, of the lengths that it uses for frames of these sizes."""

from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

NAMES = {6: "CRC6", 11: "CRC11", 16: "CRC16", 24: "CRC24A"}


def crc_bits(bits: int) -> int:
    """Bits of the CRC in a frame of ``bits``, itself included.

    The fewest that 5G has for so much: those of control information, 6 for a payload of 12 to 19 and 11 for up to 1,706
    (TS 38.212, 6.3.1.2.1), then those of data, 16 for up to 3,824 and 24 beyond (7.2.1). A payload of 6 to 11 bits that
    LDPC carries has 6, too.
    """
    for length, most in ((6, 19), (11, 1706), (16, 3824)):
        if bits - length <= most:
            return length
    return 24


def append(payload: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    """``n x A`` bits and their CRC of ``length`` bits, ``n x (A + length)``."""
    with torch.inference_mode():
        frames: NDArray[np.uint8] = _encoder(payload.shape[1], length)(torch.from_numpy(payload)).numpy()
    return frames


def intact(frames: NDArray[np.uint8], length: int) -> NDArray[np.bool_]:
    """For each row of payload and CRC, whether the two agree."""
    same: NDArray[np.bool_] = (append(frames[:, :-length], length) == frames).all(axis=1)
    return same


@cache
def _encoder(bits: int, length: int) -> Any:
    """Made once: its matrix is of one number of bits."""
    # As that of the code, its import must not draw from torch's generator.
    with torch.random.fork_rng(devices=[]):
        from sionna.phy.fec.crc import CRCEncoder  # type: ignore[import-untyped]

        return CRCEncoder(NAMES[length], k=bits, device="cpu")
