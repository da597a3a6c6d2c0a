"""The strategies by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import metadata

from policies.search.space import SearchSpace
from policies.search.strategy import RandomSearch, SobolSearch, Strategy
from thinwire.errors import InvalidRequestError, UnavailableError

# Each with the packages that decide which points it comes to.
_PACKAGES = {
    "qlognehvi": ("botorch", "gpytorch", "scipy"),
    "ehvi": ("botorch", "gpytorch", "scipy"),
    "random": ("numpy",),
    "sobol": ("scipy",),
    "nsga2": ("pymoo",),
}
STRATEGIES = tuple(_PACKAGES)


def make_strategy(name: str, space: SearchSpace, objectives: int, seed: int) -> Strategy:
    """The strategy of a name.

    Args:
        name: one of `STRATEGIES`.
        space: where to search.
        objectives: how many there are.
        seed: of all that it draws.

    Raises:
        InvalidRequestError, UnavailableError: as for `load_strategy`.
    """
    return load_strategy(name)(space, objectives, seed)


def load_strategy(name: str) -> Callable[[SearchSpace, int, int], Strategy]:
    """What makes the strategy of a name, from the arguments of `make_strategy`; its library is imported.

    Raises:
        InvalidRequestError: there is none of that name.
        UnavailableError: its library is not installed.
    """
    if name == "random":
        return lambda space, objectives, seed: RandomSearch(space, seed)
    if name == "sobol":
        return lambda space, objectives, seed: SobolSearch(space, seed)
    # BoTorch and pymoo take seconds to import, which only their users need to wait for.
    with _libraries(name):
        if name in ("qlognehvi", "ehvi"):
            from policies.search.bayes import BayesianSearch

            return partial(BayesianSearch, acquisition="ehvi" if name == "ehvi" else "qlognehvi")
        if name == "nsga2":
            from policies.search.genetic import GeneticSearch

            return GeneticSearch
    raise InvalidRequestError(f"no strategy {name!r}: there are {', '.join(STRATEGIES)}")


def strategy_versions(name: str) -> dict[str, str]:
    """The versions of what decides which points a strategy comes to, for the identity of its study.

    Raises:
        InvalidRequestError, UnavailableError: as for `load_strategy`.
    """
    load_strategy(name)
    return {package: metadata.version(package) for package in _PACKAGES[name]}


@contextmanager
def _libraries(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UnavailableError(
            f"the strategy {name} needs the extra 'search': pip install -e '.[search]' ({error})"
        ) from None
