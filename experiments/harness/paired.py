"""Shares of right answers as estimates, and differences between two on the same images and noise."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from experiments.harness.report import Estimate


def accuracy(right: ArrayLike) -> Estimate:
    """The share of right answers, in %.

    Args:
        right: 1 for each image that was answered rightly, else 0.
    """
    return _mean(np.asarray(right, dtype=np.float64))


def change(right: ArrayLike, before: ArrayLike) -> Estimate:
    """The share of right answers less that of another run, in points; the images are the same, in the same order."""
    return _mean(np.asarray(right, dtype=np.float64) - np.asarray(before, dtype=np.float64))


def mean(values: NDArray[np.float64]) -> Estimate:
    """The mean of a sample in its own unit, with the unbiased variance's standard error."""
    return Estimate(float(values.mean()), float(values.std(ddof=1) / len(values) ** 0.5))


def _mean(values: NDArray[np.float64]) -> Estimate:
    return Estimate(100 * float(values.mean()), 100 * float(values.std()) / len(values) ** 0.5)
