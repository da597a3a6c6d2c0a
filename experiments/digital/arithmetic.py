"""Arithmetic coding under distributions that both ends know, exact, in whole numbers of any length.

A frame of n bits is read as a number v / 2^n in [0, 1); the coder narrows an interval by each symbol's share, and any
such number within it tells all symbols. So n bits hold whatever has a probability of at least 2^-n, nothing is rounded
and no end has to be marked (Rissanen, 1976; Cover and Thomas, Elements of Information Theory, 13.3).
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

PRECISION = 16


class Distribution:
    """Of a symbol 0 ... m - 1.

    Args:
        counts: how often each was seen. All of them can be coded, those that were not seen too, at the least share.
    """

    def __init__(self, counts: Sequence[float] | NDArray[Any]) -> None:
        seen = np.asarray(counts, dtype=np.float64)
        total = 1 << PRECISION
        shares = 1 + np.floor((total - len(seen)) * seen / max(seen.sum(), 1)).astype(np.int64)
        shares[int(shares.argmax())] += total - shares.sum()
        self.cumulative = [0, *np.cumsum(shares).tolist()]
        self.costs: NDArray[np.float64] = PRECISION - np.log2(shares)


class Encoder:
    """Narrows the interval."""

    def __init__(self) -> None:
        self._low, self._width, self._scale = 0, 1, 0

    def put(self, distribution: Distribution, symbol: int) -> None:
        """Code one symbol."""
        start, end = distribution.cumulative[symbol : symbol + 2]
        self._low = (self._low << PRECISION) + start * self._width
        self._width *= end - start
        self._scale += PRECISION

    def finish(self, bits: int) -> NDArray[np.uint8]:
        """All that was put, in so many bits, the highest first.

        Raises:
            ValueError: they do not hold it.
        """
        value = -(-(self._low << bits) >> self._scale)
        if value << self._scale >= (self._low + self._width) << bits:
            raise ValueError(f"the symbols do not fit {bits} bits")
        packed = np.frombuffer(value.to_bytes(-(-bits // 8), "big"), dtype=np.uint8)
        return np.unpackbits(packed)[-bits:]


class Decoder:
    """Reads symbols from bits; any bits say something.

    Args:
        bits: the highest first.
    """

    def __init__(self, bits: NDArray[np.uint8]) -> None:
        self._bits = len(bits)
        self._rest = int.from_bytes(np.packbits(bits).tobytes(), "big") >> (-len(bits) % 8)
        self._width = 1

    def get(self, distribution: Distribution) -> int:
        """The next symbol, put under the same distribution."""
        self._rest <<= PRECISION
        symbol = bisect_right(distribution.cumulative, self._rest // (self._width << self._bits)) - 1
        start, end = distribution.cumulative[symbol : symbol + 2]
        self._rest -= (start * self._width) << self._bits
        self._width *= end - start
        return symbol
