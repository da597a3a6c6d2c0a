"""What a search does when it stands still: explore for a while, and say when even that brought nothing."""

import logging
from collections.abc import Sequence
from itertools import islice

import numpy as np

from policies.policy import Policy
from policies.search.signatures import WINDOW, Stagnation, stagnation
from policies.search.strategy import ExhaustedError, Observation, Strategy, Suggestion, sobol_points

log = logging.getLogger(__name__)

# Trials far from all others that follow a verdict of stagnation; the rest of the window is the strategy's again.
EXPLORATIONS = 5
# Points among which the farthest is looked for.
CANDIDATES = 256


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

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion | None:
        """See `policies.search.strategy.Strategy`."""
        since = len(observed) % WINDOW + len(pending)
        verdict = self.verdict(observed)
        if verdict is not None and verdict.is_stagnant and since < EXPLORATIONS:
            return self._explore(observed, pending)
        return self._strategy.suggest(observed, pending)

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
