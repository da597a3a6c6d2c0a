"""The policies that a search may try, as points of a cube."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from thinwire.errors import InvalidRequestError

# The topmost share of a layer's coordinate that skips the layer.
SKIPPED = 0.05


@dataclass(frozen=True)
class SearchSpace:
    """One threshold per layer, and a rate.

    A point has a coordinate in [0, 1] for each layer and a last one for the rate. A layer's coordinate runs along its
    axis of thresholds; its topmost twentieth skips the layer. The rate's coordinate is cut into as many equal cells as
    there are rates, whatever their distances. An axis that holds the quantiles of the layer's similarities makes equal
    steps of a coordinate equal steps in how many tokens merge, which a smooth model of the objectives can follow.

    Attributes:
        axes: for each layer, thresholds at equal distances along its coordinate, linear in between; never falling.
        rates: symbols per token, rising.

    Raises:
        InvalidRequestError: there is no layer or no rate, an axis is short, falls or leaves [-1, 1], or rates do not
            rise from at least 1.
    """

    axes: tuple[tuple[float, ...], ...]
    rates: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.axes or not self.rates:
            raise InvalidRequestError("a search needs at least one layer and one rate")
        for layer, axis in enumerate(self.axes):
            steps = np.diff(np.array(axis, dtype=np.float64))
            if len(axis) < 2 or not ((steps >= 0).all() and axis[0] >= -1 and axis[-1] <= 1):
                raise InvalidRequestError(f"axis {layer} must rise from at least -1 to at most 1, got {list(axis)}")
        if self.rates[0] < 1 or list(self.rates) != sorted(set(self.rates)):
            raise InvalidRequestError(f"rates must rise from at least 1, got {list(self.rates)}")

    @classmethod
    def box(cls, low: Sequence[float], high: Sequence[float], rates: Sequence[int]) -> "SearchSpace":
        """A given box: each layer's thresholds from ``low`` to ``high``, linear.

        Raises:
            InvalidRequestError: as for `SearchSpace`, or the ends differ in number.
        """
        if len(low) != len(high):
            raise InvalidRequestError(f"expected as many ends, got {len(low)} low and {len(high)} high")
        axes = tuple((float(start), float(end)) for start, end in zip(low, high, strict=True))
        return cls(axes, tuple(rates))

    @property
    def dimensions(self) -> int:
        """Coordinates of a point."""
        return len(self.axes) + 1

    def policy(self, point: NDArray[np.float64]) -> Policy:
        """The policy at a point, which is clipped to the cube."""
        clipped = np.clip(np.asarray(point, dtype=np.float64), 0, 1)
        thresholds = [
            1.0 if place > 1 - SKIPPED else float(np.interp(place / (1 - SKIPPED), _knots(axis), axis))
            for place, axis in zip(clipped, self.axes, strict=False)
        ]
        cell = min(int(clipped[-1] * len(self.rates)), len(self.rates) - 1)
        return Policy.create(thresholds, self.rates[cell])

    def point(self, policy: Policy) -> NDArray[np.float64]:
        """The point that stands for a policy: the middle of what means the same where several points do.

        Thresholds beyond an axis go to its end.

        Raises:
            InvalidRequestError: the policy has another number of layers, or a rate that the space does not have.
        """
        if len(policy.thresholds) != len(self.axes) or policy.symbols_per_token not in self.rates:
            raise InvalidRequestError(
                f"policy {policy.id} has {len(policy.thresholds)} layers and rate {policy.symbols_per_token}; "
                f"the space has {len(self.axes)} and {list(self.rates)}"
            )
        places = [
            1 - SKIPPED / 2 if threshold >= 1 else (1 - SKIPPED) * _place(threshold, axis)
            for threshold, axis in zip(policy.thresholds, self.axes, strict=True)
        ]
        rate = (self.rates.index(policy.symbols_per_token) + 0.5) / len(self.rates)
        return np.array([*places, rate])

    def to_json(self) -> dict[str, Any]:
        """The JSON form, for a study's settings."""
        return {"axes": [list(axis) for axis in self.axes], "rates": list(self.rates)}


def _knots(axis: tuple[float, ...]) -> NDArray[np.float64]:
    return np.linspace(0, 1, len(axis))


def _place(threshold: float, axis: tuple[float, ...]) -> float:
    # Where an axis is flat, many places have one threshold: the middle of them.
    values, knots = np.array(axis), _knots(axis)
    low = int(np.searchsorted(values, threshold, "left"))
    high = int(np.searchsorted(values, threshold, "right"))
    if high > low:
        return float((knots[low] + knots[high - 1]) / 2)
    return float(np.interp(threshold, values, knots))
