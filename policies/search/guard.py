"""Signs that a search stands still; what it does then: explore for a while, and say when even that brought nothing."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from policies.pareto import hypervolume
from policies.policy import Policy
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError, Observation, Strategy, Suggestion, sobol_points

log = logging.getLogger(__name__)

# How many of the latest trials are judged.
WINDOW = 10
# Two points nearer than this in every coordinate differ by less than their noise can show.
NEAR = 0.01
# A hypervolume that grew by a smaller share within the window is at rest.
LEAST_GAIN = 1e-3
# Just above the least that BoTorch lets a length scale be (0.025): such a model sees noise. A constant objective of 8
# coordinates comes out at 12 to 14 in all of them under its prior: there is no bound above.
SHORTEST, LONGEST = 0.026, 10.0
# Trials far from all others that follow a verdict of stagnation; the rest of the window is the strategy's again.
EXPLORATIONS = 5
# Points among which the farthest is looked for.
CANDIDATES = 256


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


class Guard:
    """A strategy, and exploration in its place while it stands still.

    The verdict falls after every ``WINDOW`` trials and depends on the trials alone, so that a search that resumes comes
    to the same one. After a verdict of stagnation the next ``EXPLORATIONS`` suggestions are the policies farthest from
    all that were tried. A second such verdict in a row says that they brought no gain either.

    Args:
        strategy: what picks policies otherwise.
    """

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._verdicts: dict[tuple[str, ...], Stagnation] = {}

    def verdict(self, observed: Sequence[Observation]) -> Stagnation | None:
        """The latest verdict on these trials; None before there are enough of them."""
        return self._verdict(observed, len(observed) // WINDOW * WINDOW)

    def is_spent(self, observed: Sequence[Observation]) -> bool:
        """Whether the latest two verdicts are of stagnation: exploration did not help."""
        end = len(observed) // WINDOW * WINDOW
        verdicts = [self._verdict(observed, number) for number in (end - WINDOW, end)]
        return all(one is not None and one.is_stagnant for one in verdicts)

    def suggest(
        self, observed: Sequence[Observation], pending: Sequence[Policy], besides: Sequence[Observation] = ()
    ) -> Suggestion | None:
        """See `policies.search.strategy.Strategy`; what is known ``besides`` takes no part in the verdict."""
        since = len(observed) % WINDOW + len(pending)
        verdict = self.verdict(observed)
        if verdict is not None and verdict.is_stagnant and since < EXPLORATIONS:
            return self._explore([*observed, *besides], pending)
        return self._strategy.suggest([*observed, *besides], pending)

    def _verdict(self, observed: Sequence[Observation], number: int) -> Stagnation | None:
        judged = observed[: max(0, number)]
        key = tuple(one.policy.digest for one in judged)
        if len(judged) < 2 * WINDOW:
            return None
        if key not in self._verdicts:
            verdict = stagnation(self._strategy.space, judged, self._strategy.length_scales)
            if verdict.is_stagnant:
                log.warning("the search stands still after %d trials: %s", number, verdict)
            self._verdicts[key] = verdict
        return self._verdicts[key]

    def _explore(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion:
        """The policy farthest from all that were tried, of a sample of the space."""
        space = self._strategy.space
        tried = [one.policy for one in observed] + list(pending)
        known = {policy.digest for policy in tried}
        sample = islice(sobol_points(space.dimensions, len(tried)), CANDIDATES)
        new = [policy for policy in map(space.policy, sample) if policy.digest not in known]
        if not new:
            raise ExhaustedError
        places = np.stack([space.point(policy) for policy in tried])
        # A policy stands at one point however many mean it, so that a rounded coordinate counts as what it is.
        distances = [np.square(places - space.point(policy)).sum(axis=1).min() for policy in new]
        return Suggestion(new[int(np.argmax(distances))], "explore")
