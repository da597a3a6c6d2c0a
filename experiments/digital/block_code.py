"""A short code for up to 11 bits, decoded by maximum likelihood.

The extended BCH code [32, 11] of minimum distance 12, whose first six bits alone span the first-order Reed-Muller code
[32, 6] of distance 16; no linear code of these sizes has more. It stands for the (32, K) code that 5G has for so few
bits (TS 38.212, 5.3.3.3).
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

LENGTH, MOST_BITS = 32, 11


def encode(bits: NDArray[np.uint8], coded: int) -> NDArray[np.uint8]:
    """``n x K`` bits as ``n x coded``: their word, repeated or cut.

    Raises:
        ValueError: K is above 11.
    """
    return _words(bits.shape[1])[_index(bits)][:, np.arange(coded) % LENGTH]


def decode(soft: NDArray[np.float32], bits: int) -> NDArray[np.uint8]:
    """The most likely bits.

    Args:
        soft: ``n x coded`` log-likelihood ratios, positive for 0.
        bits: K.

    Returns:
        ``n x K``.
    """
    folded = np.zeros((len(soft), LENGTH), dtype=np.float32)
    for start in range(0, soft.shape[1], LENGTH):
        part = soft[:, start : start + LENGTH]
        folded[:, : part.shape[1]] += part
    best = (folded @ (1 - 2 * _words(bits).astype(np.float32)).T).argmax(axis=1)
    found: NDArray[np.uint8] = ((best[:, None] >> np.arange(bits)) & 1).astype(np.uint8)
    return found


def _index(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    index: NDArray[np.int64] = (bits.astype(np.int64) << np.arange(bits.shape[1])).sum(axis=1)
    return index


@cache
def _words(bits: int) -> NDArray[np.uint8]:
    """All words of the code's first ``bits`` rows, ``2^K x 32``: the word of number i has the bits of i."""
    if not 1 <= bits <= MOST_BITS:
        raise ValueError(f"the block code carries 1 to {MOST_BITS} bits, got {bits}")
    messages = (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1
    return (messages @ _generator()[:bits] % 2).astype(np.uint8)


@cache
def _generator() -> NDArray[np.int64]:
    """Rows of 1, the coordinates of x, and those of x^3, for all x of GF(32) (MacWilliams and Sloane, chapter 15)."""
    powers = [1]
    for _ in range(30):
        # x^5 = x^2 + 1
        doubled = powers[-1] << 1
        powers.append(doubled ^ 0b100101 if doubled & 32 else doubled)
    cubes = [0] * 32
    for exponent, x in enumerate(powers):
        cubes[x] = powers[3 * exponent % 31]
    elements = np.arange(32)
    rows = [np.ones(32, dtype=np.int64)]
    rows += [(elements >> bit) & 1 for bit in range(5)]
    rows += [(np.array(cubes) >> bit) & 1 for bit in range(5)]
    return np.stack(rows)
