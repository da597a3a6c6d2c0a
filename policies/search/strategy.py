"""How a search picks the next policy: the interface, the two strategies that learn nothing, and all of them by name."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from itertools import count
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from policies.policy import Policy
from policies.search.space import SearchSpace
from thinwire.errors import InvalidRequestError, UnavailableError

# Different points can be one policy; past this many of them in a row the space is as good as exhausted.
MOST_REPEATS = 1000
# Of more layers, the first points of a model are spread over how much is merged; see `start_points`.
FEW_LAYERS = 8
# Multiples of it fill the unit interval evenly, modulo 1, however many there are.
GOLDEN = (math.sqrt(5) - 1) / 2
# The strategies by name, each with the packages that decide which points it comes to.
_PACKAGES = {
    "qlognehvi": ("botorch", "gpytorch", "scipy"),
    "ehvi": ("botorch", "gpytorch", "scipy"),
    "random": ("numpy",),
    "sobol": ("scipy",),
    "nsga2": ("pymoo",),
}


@dataclass(frozen=True)
class Observation:
    """What a search learnt of one policy.

    Attributes:
        policy: what was tried.
        utilities: one per objective, more is better; see `policies.search.objectives.Scale`.
        variances: of the utilities' estimates; 0 for what is exact.
    """

    policy: Policy
    utilities: NDArray[np.float64]
    variances: NDArray[np.float64]


@dataclass(frozen=True)
class Suggestion:
    """A policy to try.

    Attributes:
        policy: the policy.
        source: what proposed it: "sobol", "random", "qlognehvi", "ehvi", "nsga2" or "explore".
    """

    policy: Policy
    source: str


class ExhaustedError(Exception):
    """There is nothing new to try."""


class Strategy(Protocol):
    """Picks policies. What it answers depends on its arguments and its seed alone, so that a search can resume."""

    @property
    def space(self) -> SearchSpace:
        """Where it searches."""
        ...

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion | None:
        """The next policy to try.

        Args:
            observed: what is known, in the order in which it was tried.
            pending: what is being tried now.

        Returns:
            a policy that is neither observed nor pending, or None to wait for what is pending.

        Raises:
            ExhaustedError: there is nothing new to try.
        """
        ...

    def length_scales(self, observed: Sequence[Observation]) -> NDArray[np.float64] | None:
        """The length scales of its model of the objectives, ``objectives x dimensions``; None where it has no model.

        Args:
            observed: what the model is to be of.
        """
        ...


@dataclass(frozen=True)
class RandomSearch:
    """Independent uniform points."""

    space: SearchSpace
    seed: int

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion:
        """See `Strategy`."""
        generator = np.random.default_rng(self.seed)
        points = (generator.random(self.space.dimensions) for _ in count())
        return Suggestion(first_new(self.space, points, observed, pending), "random")

    def length_scales(self, observed: Sequence[Observation]) -> None:
        """See `Strategy`."""


@dataclass(frozen=True)
class SobolSearch:
    """A scrambled Sobol sequence, which fills the space more evenly than random points."""

    space: SearchSpace
    seed: int

    def suggest(self, observed: Sequence[Observation], pending: Sequence[Policy]) -> Suggestion:
        """See `Strategy`."""
        points = sobol_points(self.space.dimensions, self.seed)
        return Suggestion(first_new(self.space, points, observed, pending), "sobol")

    def length_scales(self, observed: Sequence[Observation]) -> None:
        """See `Strategy`."""


def sobol_points(dimensions: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """The scrambled Sobol sequence of a seed, point by point."""
    sequence = qmc.Sobol(dimensions, rng=np.random.default_rng(seed))
    return (sequence.random(1)[0] for _ in count())


def start_points(space: SearchSpace, seed: int) -> Iterator[NDArray[np.float64]]:
    """Where a model of a space begins: its Sobol sequence, each point pulled towards no merging by a share of its own.

    The mean of many uniform coordinates is nearly the same for all points: over twelve layers hardly any would merge
    little, which is where the best policies are. Spaces of few layers keep the plain sequence.
    """
    layers = len(space.axes)
    for index, point in enumerate(sobol_points(space.dimensions, seed)):
        if layers > FEW_LAYERS:
            point[:layers] = 1 - (1 - point[:layers]) * ((index + 1) * GOLDEN % 1)
        yield point


def first_new(
    space: SearchSpace,
    points: Iterator[NDArray[np.float64]],
    observed: Sequence[Observation],
    pending: Sequence[Policy],
) -> Policy:
    """The first of these points whose policy was not tried yet.

    Raises:
        ExhaustedError: a thousand points more than were tried bring nothing new.
    """
    tried = {observation.policy.digest for observation in observed} | {policy.digest for policy in pending}
    for _ in range(len(tried) + MOST_REPEATS):
        policy = space.policy(next(points))
        if policy.digest not in tried:
            return policy
    raise ExhaustedError


def load_strategy(name: str) -> Callable[[SearchSpace, int, int], Strategy]:
    """The strategy of a name: what makes it of a space, how many objectives there are, and a seed.

    Raises:
        InvalidRequestError: there is none of that name.
        UnavailableError: its library is not installed.
    """
    if name not in _PACKAGES:
        raise InvalidRequestError(f"no strategy {name!r}: there are {', '.join(_PACKAGES)}")
    if name == "random":
        return lambda space, objectives, seed: RandomSearch(space, seed)
    if name == "sobol":
        return lambda space, objectives, seed: SobolSearch(space, seed)
    # BoTorch and pymoo take seconds to import, which only their users need to wait for.
    try:
        if name == "nsga2":
            from policies.search.genetic import GeneticSearch

            return GeneticSearch
        from policies.search.bayes import BayesianSearch
    except ImportError as error:
        raise UnavailableError(
            f"the strategy {name} needs the extra 'search': pip install -e '.[search]' ({error})"
        ) from None
    return partial(BayesianSearch, acquisition="ehvi" if name == "ehvi" else "qlognehvi")


def strategy_versions(name: str) -> dict[str, str]:
    """The versions of what decides which points a strategy comes to, for the identity of its study.

    Raises:
        InvalidRequestError, UnavailableError: as for `load_strategy`.
    """
    load_strategy(name)
    return {package: metadata.version(package) for package in _PACKAGES[name]}
