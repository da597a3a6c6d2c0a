"""Shares of right answers as estimates, and differences between two on the same images and noise."""

from collections.abc import Sequence

import numpy as np

from experiments.harness.report import Estimate


def accuracy(right: Sequence[int]) -> Estimate:
    """The share of right answers, in %.

    Args:
        right: 1 for each image that was answered rightly, else 0.
    """
    return _mean(np.asarray(right, dtype=np.float64))


def change(right: Sequence[int], before: Sequence[int]) -> Estimate:
    """The share of right answers less that of another run, in points; the images are the same, in the same order."""
    return _mean(np.asarray(right, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def _mean(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Estimate:
    return Estimate(100 * float(values.mean()), 100 * float(values.std()) / len(values) ** 0.5)
