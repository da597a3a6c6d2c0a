"""Signs that a search no longer gets anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.search.hypervolume import hypervolume
from policies.search.space import SearchSpace
from policies.search.strategy import Observation

# How many of the latest trials are judged.
WINDOW = 10
# Two points nearer than this in every coordinate differ by less than their noise can show.
NEAR = 0.01
# A hypervolume that grew by a smaller share within the window is at rest.
LEAST_GAIN = 1e-3
# Just above the least that BoTorch lets a length scale be (0.025): such a model sees noise. A constant objective of 8
# coordinates comes out at 12 to 14 in all of them under its prior: there is no bound above.
SHORTEST, LONGEST = 0.026, 10.0


@dataclass(frozen=True)
class Stagnation:
    """What speaks for a search that stands still; each is empty or false where nothing does.

    Attributes:
        repeats: how many of the window's trials lie next to an earlier one.
        resting: whether the hypervolume has not grown over the window.
        bounded: the objectives whose model has all length scales at a bound.
    """

    repeats: int
    resting: bool
    bounded: tuple[int, ...]

    @property
    def is_stagnant(self) -> bool:
        """Whether the search should do something else: at rest, and repeating itself or without a model."""
        return self.resting and (self.repeats >= WINDOW // 2 or bool(self.bounded))

    def __str__(self) -> str:
        signs = [f"{self.repeats} of the last {WINDOW} trials lie next to earlier ones"] if self.repeats else []
        signs += ["the hypervolume is at rest"] if self.resting else []
        signs += [f"the length scales of objective {index} are at their bounds" for index in self.bounded]
        return "; ".join(signs) or "none"


def stagnation(
    space: SearchSpace,
    observed: Sequence[Observation],
    length_scales: Callable[[Sequence[Observation]], NDArray[np.float64] | None],
) -> Stagnation:
    """Judge the latest trials.

    Args:
        space: where the search runs.
        observed: all trials, in order.
        length_scales: those of the model of given trials, ``objectives x dimensions``, or None; asked only where the
            answer matters, for it costs a fit.
    """
    if len(observed) < 2 * WINDOW:
        return Stagnation(0, False, ())
    points = np.stack([space.point(one.policy) for one in observed])
    latest = range(len(points) - WINDOW, len(points))
    repeats = sum(bool((np.abs(points[:index] - points[index]).max(axis=1) < NEAR).any()) for index in latest)
    volume = hypervolume([one.utilities for one in observed])
    before = hypervolume([one.utilities for one in observed[:-WINDOW]])
    resting = volume - before <= LEAST_GAIN * volume
    scales = length_scales(observed) if resting else None
    bounded: tuple[int, ...] = ()
    if scales is not None:
        outside = (scales < SHORTEST) | (scales > LONGEST)
        bounded = tuple(int(index) for index in np.flatnonzero(outside.all(axis=1)))
    return Stagnation(repeats, resting, bounded)
