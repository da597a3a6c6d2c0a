"""Cyclic redundancy checks of 5G (TS 38.212, 5.1), of the lengths that it uses for frames of these sizes."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

# Exponents of the generator polynomials.
POLYNOMIALS = {
    6: (6, 5, 0),
    11: (11, 10, 9, 5, 0),
    16: (16, 12, 5, 0),
    24: (24, 23, 18, 17, 14, 11, 10, 7, 6, 5, 4, 3, 1, 0),
}


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
    return np.concatenate((payload, _remainders(payload, length)), axis=1)


def intact(frames: NDArray[np.uint8], length: int) -> NDArray[np.bool_]:
    """For each row of payload and CRC, whether the two agree."""
    same: NDArray[np.bool_] = (_remainders(frames[:, :-length], length) == frames[:, -length:]).all(axis=1)
    return same


def _remainders(payload: NDArray[np.uint8], length: int) -> NDArray[np.uint8]:
    # The remainder is linear in the payload. Sums of float32 are exact below 2^24.
    sums = payload.astype(np.float32) @ _generator(payload.shape[1], length)
    return (sums.astype(np.int64) % 2).astype(np.uint8)


@cache
def _generator(bits: int, length: int) -> NDArray[np.float32]:
    """Remainders of x^(A - 1 + L) down to x^L, one a row."""
    taps = np.zeros(length, dtype=np.uint8)
    taps[[length - 1 - exponent for exponent in POLYNOMIALS[length] if exponent < length]] = 1
    rows = np.zeros((bits, length), dtype=np.float32)
    remainder = taps.copy()
    for row in range(bits - 1, -1, -1):
        rows[row] = remainder
        carry = remainder[0]
        remainder = np.append(remainder[1:], 0).astype(np.uint8) ^ (carry * taps)
    return rows
