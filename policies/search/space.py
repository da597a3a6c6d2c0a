"""The policies that a search may try, as points of a cube."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from policies.policy import Policy
from thinwire.errors import InvalidRequestError

_T = TypeVar("_T")
# The topmost share of a layer's coordinate that skips the layer.
SKIPPED = 0.05


@dataclass(frozen=True)
class SearchSpace:
    """One threshold per layer, a rate, and a limit on the tokens.

    A point has a coordinate in [0, 1] for each layer, then one for the rate and one for the limit, unless there is one
    only to choose from. A layer's coordinate runs along its axis of thresholds; its topmost twentieth skips the layer.
    The other two are cut into as many equal cells as there are choices, whatever their distances.

    An axis that holds the quantiles of the layer's similarities makes equal steps of a coordinate equal steps in how
    many tokens merge, which a smooth model of the objectives can follow.

    Attributes:
        axes: for each layer, thresholds at equal distances along its coordinate, linear in between; never falling.
        rates: symbols per token, rising.
        limits: the most tokens to send, rising; None, for no limit, is the last if it is there.

    Raises:
        InvalidRequestError: there is no layer, rate or limit, an axis is short, falls or leaves [-1, 1], or rates or
            limits do not rise from at least 1.
    """

    axes: tuple[tuple[float, ...], ...]
    rates: tuple[int, ...]
    limits: tuple[int | None, ...] = (None,)

    def __post_init__(self) -> None:
        if not self.axes or not self.rates or not self.limits:
            raise InvalidRequestError("a search needs at least one layer, one rate and one limit")
        for layer, axis in enumerate(self.axes):
            steps = np.diff(np.array(axis, dtype=np.float64))
            if len(axis) < 2 or not ((steps >= 0).all() and axis[0] >= -1 and axis[-1] <= 1):
                raise InvalidRequestError(f"axis {layer} must rise from at least -1 to at most 1, got {list(axis)}")
        finite = [*self.limits[:-1], *([] if self.limits[-1] is None else self.limits[-1:])]
        for name, choices in (("rates", list(self.rates)), ("limits", finite)):
            whole = [choice for choice in choices if choice is not None]
            if whole != choices or any(choice < 1 for choice in whole) or any(a >= b for a, b in pairwise(whole)):
                raise InvalidRequestError(f"{name} must rise from at least 1, got {choices}")

    @classmethod
    def box(
        cls,
        low: Sequence[float],
        high: Sequence[float],
        rates: Sequence[int],
        limits: Sequence[int | None] = (None,),
    ) -> "SearchSpace":
        """A given box: each layer's thresholds from ``low`` to ``high``, linear.

        Raises:
            InvalidRequestError: as for `SearchSpace`, or the ends differ in number.
        """
        if len(low) != len(high):
            raise InvalidRequestError(f"expected as many ends, got {len(low)} low and {len(high)} high")
        axes = tuple((float(start), float(end)) for start, end in zip(low, high, strict=True))
        return cls(axes, tuple(rates), tuple(limits))

    @property
    def dimensions(self) -> int:
        """Coordinates of a point."""
        return len(self.axes) + (len(self.rates) > 1) + (len(self.limits) > 1)

    def policy(self, point: NDArray[np.float64]) -> Policy:
        """The policy at a point, which is clipped to the cube."""
        clipped = np.clip(np.asarray(point, dtype=np.float64), 0, 1)
        thresholds = [
            1.0 if place > 1 - SKIPPED else float(np.interp(place / (1 - SKIPPED), _knots(axis), axis))
            for place, axis in zip(clipped, self.axes, strict=False)
        ]
        choices = iter(clipped[len(self.axes) :])
        return Policy.create(thresholds, _choice(self.rates, choices), _choice(self.limits, choices))

    def relatives(self, policy: Policy) -> list[Policy]:
        """The policies of the same thresholds that differ in the rate alone, or in the limit alone."""
        rates = [Policy(policy.thresholds, rate, policy.max_tokens) for rate in self.rates]
        limits = [Policy(policy.thresholds, policy.symbols_per_token, limit) for limit in self.limits]
        return [one for one in (*rates, *limits) if one != policy]

    def point(self, policy: Policy) -> NDArray[np.float64]:
        """The point that stands for a policy: the middle of what means the same where several points do.

        Thresholds beyond an axis go to its end.

        Raises:
            InvalidRequestError: the policy has another number of layers, or a rate or a limit that the space lacks.
        """
        rate, limit = policy.symbols_per_token, policy.max_tokens
        if len(policy.thresholds) != len(self.axes) or rate not in self.rates or limit not in self.limits:
            raise InvalidRequestError(
                f"policy {policy.id} has {len(policy.thresholds)} layers, rate {rate} and limit {limit}; "
                f"the space has {len(self.axes)}, {list(self.rates)} and {list(self.limits)}"
            )
        places = [
            1 - SKIPPED / 2 if threshold >= 1 else (1 - SKIPPED) * _place(threshold, axis)
            for threshold, axis in zip(policy.thresholds, self.axes, strict=True)
        ]
        for choices, chosen in ((self.rates, rate), (self.limits, limit)):
            if len(choices) > 1:
                places.append((choices.index(chosen) + 0.5) / len(choices))
        return np.array(places)


def _choice(choices: Sequence[_T], coordinates: Iterator[np.float64]) -> _T:
    if len(choices) == 1:
        return choices[0]
    return choices[min(int(next(coordinates) * len(choices)), len(choices) - 1)]


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
