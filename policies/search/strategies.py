"""The strategies by name."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from policies.search.space import SearchSpace
from policies.search.strategy import RandomSearch, SobolSearch, Strategy
from thinwire.errors import InvalidRequestError, UnavailableError

STRATEGIES = ("qlognehvi", "ehvi", "random", "sobol", "nsga2")


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


@contextmanager
def _libraries(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise UnavailableError(
            f"the strategy {name} needs the extra 'search': pip install 'thinwire[search]' ({error})"
        ) from None
