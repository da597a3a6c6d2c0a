"""What a drawing of studies shows, as arrays and texts; free of any library that draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from policies.pareto import non_dominated
from policies.record import MeasuredPolicy, Objectives
from policies.search.objectives import OBJECTIVES
from policies.study import Baseline, Study
from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
class StudyData:
    """A study with all that is drawn of it, as the store gives it."""

    study: Study
    trials: tuple[MeasuredPolicy, ...]
    baselines: tuple[Baseline, ...] = ()


@dataclass(frozen=True)
class Axis:
    """An objective as it is drawn.

    Attributes:
        name: as users ask for it, one of `OBJECTIVES`.
        label: what stands at the axis, with its unit.
        value: reads it from what was measured; None where it was not.
        error: reads its standard error.
        maximise: whether more is better.
        logarithmic: whether equal ratios take equal room.
    """

    name: str
    label: str
    value: Callable[[Objectives], float | None]
    error: Callable[[Objectives], float | None]
    maximise: bool = False
    logarithmic: bool = False


def _as_searched(name: str, label: str, logarithmic: bool = False) -> Axis:
    objective = OBJECTIVES[name]
    return Axis(name, label, objective.value, objective.error, objective.maximise, logarithmic)


AXES = {
    axis.name: axis
    for axis in (
        # A search weighs the change; a reader wants to know how often the answer is right.
        Axis("accuracy", "accuracy", lambda o: o.accuracy, lambda o: o.accuracy_se, maximise=True),
        _as_searched("edge_gmacs", "edge compute, 10⁹ MACs"),
        _as_searched("channel_uses", "channel uses per image", logarithmic=True),
        _as_searched("tokens", "tokens per image"),
        _as_searched("latency_ms", "latency on the device, ms"),
    )
}


def choose_axes(names: Sequence[str]) -> tuple[Axis, ...]:
    """The axes of two or three objectives.

    Raises:
        InvalidRequestError: they are fewer or more, one is unknown, or one stands twice.
    """
    if not 2 <= len(names) <= 3 or len(set(names)) < len(names) or not set(names) <= AXES.keys():
        raise InvalidRequestError(
            f"expected two or three different objectives of {', '.join(AXES)}, got {', '.join(names) or 'none'}"
        )
    return tuple(AXES[name] for name in names)


def panels(axes: Sequence[Axis]) -> list[tuple[int, int]]:
    """Which axes each flat panel shows, across and up: all pairs, those with what is maximised first and it upwards."""
    pairs = [(j, i) if axes[i].maximise else (i, j) for i, j in combinations(range(len(axes)), 2)]
    return sorted(pairs, key=lambda pair: not axes[pair[1]].maximise)


@dataclass(frozen=True)
class Points:
    """What is drawn alike.

    Attributes:
        values: an ``n x m`` array, a column for each axis.
        errors: their standard errors, 0 for what is exact.
        notes: for each of the n points the lines that tell what it is.
    """

    values: NDArray[np.float64]
    errors: NDArray[np.float64]
    notes: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Series:
    """A study as it is drawn over some axes.

    Attributes:
        name: the study's.
        caption: what it was measured with and on.
        trials: all of them, the oldest first.
        front: those that no other trial dominates over all axes, by the first axis.
        baselines: by family, in the order of their first members.
    """

    name: str
    caption: str
    trials: Points
    front: Points
    baselines: dict[str, Points]

    @property
    def everything(self) -> NDArray[np.float64]:
        """All that is drawn of it, as an array with a column for each axis."""
        return np.concatenate([self.trials.values, *(points.values for points in self.baselines.values())])


def series(data: StudyData, axes: Sequence[Axis]) -> Series:
    """What is drawn of a study.

    Baselines that an axis was not measured for are left out, and the caption counts them.

    Raises:
        InvalidRequestError: there are no trials, or one was not measured for an axis.
    """
    study, trials = data.study, data.trials
    if not trials:
        raise InvalidRequestError(f"study {study.name} has no trials to draw")
    for axis in axes:
        missing = sum(axis.value(trial.objectives) is None for trial in trials)
        if missing:
            raise InvalidRequestError(
                f"{axis.name} was not measured for {missing} of the {len(trials)} trials of study {study.name}; "
                "choose other objectives"
            )
    measured = [trial.objectives for trial in trials]
    everything = _points(axes, measured, [_policy_notes(trial) for trial in trials])
    front = np.flatnonzero(non_dominated(everything.values, [axis.maximise for axis in axes]))
    # By all axes from the last to the first, so that the order depends on nothing but the values.
    front = front[np.lexsort(everything.values[front].T[::-1])]
    families: dict[str, list[Baseline]] = {}
    left_out = 0
    for baseline in data.baselines:
        if any(axis.value(baseline.objectives) is None for axis in axes):
            left_out += 1
        else:
            families.setdefault(baseline.family, []).append(baseline)
    return Series(
        study.name,
        _caption(data, left_out),
        everything,
        Points(everything.values[front], everything.errors[front], tuple(everything.notes[i] for i in front)),
        {
            family: _points(axes, [one.objectives for one in members], [_baseline_notes(one) for one in members])
            for family, members in families.items()
        },
    )


def staircase(points: Points, axes: Sequence[Axis], across: int, up: int) -> NDArray[np.float64]:
    """The front of two axes alone, as the corners of a line that rises or falls at once at each point.

    Args:
        points: a study's front over all axes, of which this one is a part.
        axes: what the columns of ``points`` are.
        across: column of the axis across, one where less is better.
        up: column of the axis upwards.

    Returns:
        an ``n x 2`` array of its points by the axis across.
    """
    pair = points.values[:, [across, up]]
    pair = pair[non_dominated(pair, [axes[across].maximise, axes[up].maximise])]
    ordered: NDArray[np.float64] = pair[np.argsort(pair[:, 0])]
    return ordered


def logarithmic(studies: Sequence[Series], axes: Sequence[Axis], column: int) -> bool:
    """Whether a column's axis is drawn in ratios, in which zero has no place."""
    return axes[column].logarithmic and all((study.everything[:, column] > 0).all() for study in studies)


def footnote(studies: Sequence[Series], axes: Sequence[Axis]) -> str:
    """What the marks and lines of a drawing mean."""
    over = ", ".join(axis.label.partition(",")[0] for axis in axes)
    lines = "The line is that front" if len(axes) == 2 else "Lines are the fronts of the two axes shown"
    rims = " Baselines have rims in their study's colour." if len(studies) > 1 else ""
    return f"Front over {over}. {lines}; bars are one standard error.{rims}"


def _points(axes: Sequence[Axis], measured: Sequence[Objectives], notes: Sequence[tuple[str, ...]]) -> Points:
    values = np.array([[axis.value(one) for axis in axes] for one in measured], dtype=np.float64)
    errors = np.array([[axis.error(one) or 0.0 for axis in axes] for one in measured], dtype=np.float64)
    return Points(values, errors, tuple(notes))


def _policy_notes(trial: MeasuredPolicy) -> tuple[str, ...]:
    policy = trial.policy
    limit = "no limit on tokens" if policy.max_tokens is None else f"at most {policy.max_tokens} tokens"
    return (
        policy.id,
        "thresholds " + " ".join(f"{threshold:g}" for threshold in policy.thresholds),
        f"{policy.symbols_per_token} symbols per token, {limit}",
        *_figures(trial.objectives),
    )


def _baseline_notes(baseline: Baseline) -> tuple[str, ...]:
    parameters = ", ".join(f"{name} {value}" for name, value in baseline.parameters.items())
    return (baseline.family, *([parameters] if parameters else []), *_figures(baseline.objectives))


def _figures(measured: Objectives) -> tuple[str, ...]:
    latency = [] if measured.latency_ms is None else [f"latency {measured.latency_ms:.2f} ms"]
    return (
        f"accuracy {measured.accuracy:.4f} ± {measured.accuracy_se:.4f}",
        f"{measured.tokens:.1f} tokens, standard deviation {measured.tokens_sd:.1f}",
        f"{measured.channel_uses:.1f} channel uses, 95% within {measured.channel_uses_p95}",
        f"{measured.edge_gmacs:.4f} edge GMACs",
        *latency,
    )


def _caption(data: StudyData, left_out: int) -> str:
    study, channel = data.study, data.study.channel
    counts = sorted({one.objectives.n for one in data.trials} | {one.objectives.n for one in data.baselines})
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    missing = f"; {left_out} baselines not measured on these axes" if left_out else ""
    return (
        f"{study.name}: bundle {study.bundle_name} {study.bundle_digest[:10]}, "
        f"{channel.model} at {channel.snr_db:g} dB, control rate {channel.control_rate:g} bit/use, "
        f"{study.split} split, {images} images, "
        f"{len(data.trials)} trials, seed {study.seed}{missing}"
    )
