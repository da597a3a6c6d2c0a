"""Parts that are timed in turn, and medians of what they took."""

import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.harness.report import Interval


def in_turn(parts: Mapping[str, Callable[[], Any]], repetitions: int, warm_up: int = 1) -> dict[str, NDArray[Any]]:
    """Run all parts one after the other, again and again, so that whatever slows the machine slows all of them.

    Returns:
        what each gave, by its name, ``repetitions x`` whatever; the rounds that warm up are not counted.
    """
    found: dict[str, list[Any]] = {name: [] for name in parts}
    for round_ in range(1 - warm_up, repetitions + 1):
        for name, part in parts.items():
            result = part()
            if round_ > 0:
                found[name].append(result)
        print(f"round {round_} of {repetitions}", file=sys.stderr)
    return {name: np.array(values) for name, values in found.items()}


def milliseconds(part: Callable[[], object]) -> tuple[float, float]:
    """What a part takes, of the clock and of all processors."""
    computed, began = time.process_time(), time.perf_counter()
    part()
    return 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - computed)


def median(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Median and its 95% interval by order statistics, which supposes no distribution; of under 6 values their range.

    Source: Conover (1999), Practical Nonparametric Statistics, section 3.2.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    below = np.cumsum([math.comb(count, k) for k in range(count)]) / 2.0**count
    rank = int(np.searchsorted(below, 0.025, side="right"))
    low, high = ordered[max(0, rank - 1)], ordered[min(count - 1, count - max(1, rank))]
    return Interval(float(np.median(ordered)), float(low), float(high))


def quartiles(values: Sequence[float] | NDArray[np.float64]) -> Interval:
    """Median and quartiles, of values that are no repetitions of one another."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75))
    return Interval(float(middle), float(low), float(high))
