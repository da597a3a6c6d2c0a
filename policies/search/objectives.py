"""What a search optimises, and the scale on which it weighs one objective against another."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.policy import Objectives
from thinwire.errors import InvalidRequestError

# A policy that costs more than ten points of accuracy is of no use to anybody.
MAX_LOSS = 0.1


@dataclass(frozen=True)
class Objective:
    """One objective.

    Attributes:
        name: as users ask for it.
        label: what stands at the axis of a drawing, with its unit.
        value: reads it from what was measured.
        error: reads its standard error; 0 for what is exact given the images.
        maximise: whether more is better.
        in_ratios: whether ratios count and not differences: half of the channel uses is worth the same anywhere.
    """

    name: str
    label: str
    value: Callable[[Objectives], float | None]
    error: Callable[[Objectives], float | None]
    maximise: bool = False
    in_ratios: bool = False

    def scaled(self, value: float) -> float:
        """The value, or its logarithm where ratios count."""
        return math.log(value) if self.in_ratios else value


def _exact(_: Objectives) -> float:
    return 0.0


OBJECTIVES = {
    objective.name: objective
    for objective in (
        Objective("accuracy", "accuracy", lambda o: o.accuracy_change, lambda o: o.accuracy_change_se, maximise=True),
        Objective("edge_gmacs", "edge compute, 10⁹ MACs", lambda o: o.edge_gmacs, _exact),
        Objective("channel_uses", "channel uses per image", lambda o: o.channel_uses, _exact, in_ratios=True),
        Objective("tokens", "tokens per image", lambda o: o.tokens, _exact, in_ratios=True),
        Objective("latency_ms", "latency on the device, ms", lambda o: o.latency_ms, lambda o: o.latency_ms_se),
    )
}


def check_names(names: Sequence[str]) -> None:
    """Check that names are those of two or more different objectives.

    Raises:
        InvalidRequestError: they are not.
    """
    unknown = [name for name in names if name not in OBJECTIVES]
    if unknown or len(set(names)) < len(names) or len(names) < 2:
        raise InvalidRequestError(
            f"expected two or more different objectives of {', '.join(OBJECTIVES)}, got {', '.join(names)}"
        )


@dataclass(frozen=True)
class Scale:
    """Objectives as utilities: 0 at the reference point, 1 at the ideal, more is better.

    Fixed before a search begins, so that hypervolumes of different searches can be compared.

    Attributes:
        names: of the objectives, in order.
        worst: the reference point: what is worse counts for nothing.
        best: the ideal.

    Raises:
        InvalidRequestError: there is no such objective, one stands twice, or its worst is missing or no worse than its
            best, or ratios count and its best is 0.
    """

    names: tuple[str, ...]
    worst: tuple[float, ...]
    best: tuple[float, ...]

    def __post_init__(self) -> None:
        check_names(self.names)
        if not len(self.names) == len(self.worst) == len(self.best):
            raise InvalidRequestError(
                f"expected as many ends as objectives, {len(self.names)}, got {len(self.worst)} worst and "
                f"{len(self.best)} best"
            )
        for name, worst, best in zip(self.names, self.worst, self.best, strict=True):
            if not (best > worst if OBJECTIVES[name].maximise else best < worst):
                raise InvalidRequestError(f"{name}: the worst, {worst:g}, must be worse than the best, {best:g}")
            if OBJECTIVES[name].in_ratios and best <= 0:
                raise InvalidRequestError(f"{name}: ratios count, so the best must be above 0, got {best:g}")

    @classmethod
    def of_unmerged(cls, names: Sequence[str], unmerged: Objectives, max_loss: float = MAX_LOSS) -> "Scale":
        """The scale of a model: from the cost of its unmerged reference to none, and from a loss of accuracy to none.

        Channel uses and tokens, of which ratios count, end at one.

        Args:
            names: of the objectives.
            unmerged: the unmerged reference's.
            max_loss: accuracy lost at the reference point; what loses more counts for nothing.

        Raises:
            InvalidRequestError: as for `Scale`, or an objective was not measured of the unmerged model.
        """
        check_names(names)
        objectives = [OBJECTIVES[name] for name in names]
        worst = [-max_loss if one.name == "accuracy" else _given(one.name, one.value(unmerged)) for one in objectives]
        best = [1.0 if one.in_ratios else 0.0 for one in objectives]
        return cls(tuple(names), tuple(worst), tuple(best))

    def utilities(self, measured: Objectives) -> NDArray[np.float64]:
        """The utility of each objective.

        Raises:
            InvalidRequestError: one was not measured.
        """
        rows = zip(self.names, self.worst, self.best, strict=True)
        return np.array([_utility(OBJECTIVES[name], measured, worst, best) for name, worst, best in rows])

    def variances(self, measured: Objectives) -> NDArray[np.float64]:
        """The variance of each utility; 0 for what is exact, as all are of which ratios count."""
        errors = np.array([_given(name, OBJECTIVES[name].error(measured)) for name in self.names])
        variances: NDArray[np.float64] = (errors / (np.array(self.best) - np.array(self.worst))) ** 2
        return variances


def _utility(objective: Objective, measured: Objectives, worst: float, best: float) -> float:
    value = _given(objective.name, objective.value(measured))
    start = objective.scaled(worst)
    return (objective.scaled(value) - start) / (objective.scaled(best) - start)


def _given(name: str, value: float | None) -> float:
    if value is None:
        raise InvalidRequestError(f"the objective {name} was not measured")
    return value
