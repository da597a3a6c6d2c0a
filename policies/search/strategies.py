"""The strategies by name."""

from policies.search.space import SearchSpace
from policies.search.strategy import RandomSearch, SobolSearch, Strategy
from thinwire.errors import InvalidRequestError

STRATEGIES = ("qlognehvi", "ehvi", "random", "sobol", "nsga2")


def make_strategy(name: str, space: SearchSpace, objectives: int, seed: int) -> Strategy:
    """The strategy of a name.

    Args:
        name: one of `STRATEGIES`.
        space: where to search.
        objectives: how many there are.
        seed: of all that it draws.

    Raises:
        InvalidRequestError: there is none of that name.
    """
    if name == "random":
        return RandomSearch(space, seed)
    if name == "sobol":
        return SobolSearch(space, seed)
    # BoTorch and pymoo take seconds to import, which only their users need to wait for.
    if name in ("qlognehvi", "ehvi"):
        from policies.search.bayes import BayesianSearch

        return BayesianSearch(space, objectives, seed, acquisition="ehvi" if name == "ehvi" else "qlognehvi")
    if name == "nsga2":
        from policies.search.genetic import GeneticSearch

        return GeneticSearch(space, objectives, seed)
    raise InvalidRequestError(f"no strategy {name!r}: there are {', '.join(STRATEGIES)}")
