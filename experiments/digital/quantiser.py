"""Sets of vectors as bits: uniform quantisation and arithmetic coding, both fitted to a sample."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from experiments.digital.arithmetic import Decoder, Distribution, Encoder

Vectors = NDArray[np.float32]
# Vectors on which the range is chosen, and the ranges to choose from, in standard deviations on either side.
SAMPLE = 20_000
RANGES = np.linspace(0.6, 5.0, 23)


class Quantiser:
    """Codes ``T x D`` vectors of any T.

    Each component has 2^b levels of equal width about its mean. How far they reach is one number of standard
    deviations, that of the least mean squared error on the sample. A level stands for the mean of the sample's values
    in it. Levels are coded under their shares in the sample, component by component, and T ahead of them likewise.

    Args:
        sample: what to fit to.
        bits: b, of a component before entropy coding.

    Attributes:
        distortion: mean squared error of a component on the sample.
    """

    def __init__(self, sample: Sequence[Vectors], bits: int) -> None:
        stacked = np.concatenate(sample).astype(np.float64)
        self.bits = bits
        self._mean = stacked.mean(axis=0)
        self._deviation = np.maximum(stacked.std(axis=0), 1e-9)
        some = stacked[:: -(-len(stacked) // SAMPLE)]

        def error(reach: float) -> float:
            return float(np.square(some - self._middles(self._levels(some, reach), reach)).mean())

        self._reach = min(RANGES, key=error)
        levels = self._levels(stacked, self._reach)
        self._values = self._fit_values(stacked, levels)
        self.distortion = float(np.square(stacked - self._look_up(levels)).mean())
        self._of_levels = [Distribution(np.bincount(column, minlength=2**bits)) for column in levels.T]
        self._costs = np.stack([one.costs for one in self._of_levels])
        self._of_count = Distribution(np.bincount([len(vectors) - 1 for vectors in sample]))

    def levels(self, vectors: Vectors) -> NDArray[np.int64]:
        """The level of each component."""
        return self._levels(vectors.astype(np.float64), self._reach)

    def values(self, levels: NDArray[np.int64]) -> Vectors:
        """What levels stand for."""
        return self._look_up(levels).astype(np.float32)

    def length(self, levels: NDArray[np.int64]) -> float:
        """Bits that a set of vectors takes; infinite if the sample had none of so many or more."""
        if len(levels) > len(self._of_count.costs):
            return float("inf")
        costs = self._costs[np.arange(levels.shape[1]), levels].sum()
        return float(self._of_count.costs[len(levels) - 1] + costs)

    def put(self, encoder: Encoder, levels: NDArray[np.int64]) -> None:
        """Code a set of vectors."""
        encoder.put(self._of_count, len(levels) - 1)
        for row in levels.tolist():
            for distribution, level in zip(self._of_levels, row, strict=True):
                encoder.put(distribution, level)

    def get(self, decoder: Decoder) -> NDArray[np.int64]:
        """Decode a set of vectors."""
        count = 1 + decoder.get(self._of_count)
        rows = [[decoder.get(distribution) for distribution in self._of_levels] for _ in range(count)]
        return np.array(rows, dtype=np.int64).reshape(count, len(self._of_levels))

    def _levels(self, vectors: NDArray[np.float64], reach: float) -> NDArray[np.int64]:
        unit = (vectors - self._mean) / self._deviation
        levels = np.floor((unit / reach + 1) * 2 ** (self.bits - 1))
        clipped: NDArray[np.int64] = np.clip(levels, 0, 2**self.bits - 1).astype(np.int64)
        return clipped

    def _middles(self, levels: NDArray[np.int64], reach: float) -> NDArray[np.float64]:
        unit = ((levels + 0.5) / 2 ** (self.bits - 1) - 1) * reach
        middles: NDArray[np.float64] = unit * self._deviation + self._mean
        return middles

    def _fit_values(self, vectors: NDArray[np.float64], levels: NDArray[np.int64]) -> NDArray[np.float64]:
        """``D x 2^b``; the middle of a level in which no value lies."""
        number = np.arange(2**self.bits)
        middles = self._middles(number[:, None], self._reach).T
        found = np.empty(middles.shape)
        for column in range(vectors.shape[1]):
            counts = np.bincount(levels[:, column], minlength=len(number))
            sums = np.bincount(levels[:, column], weights=vectors[:, column], minlength=len(number))
            found[column] = np.where(counts > 0, sums / np.maximum(counts, 1), middles[column])
        return found

    def _look_up(self, levels: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._values[np.arange(levels.shape[1]), levels]
