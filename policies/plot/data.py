"""What a drawing of studies shows, as arrays and texts, and in which colours and marks; free of any library that draws.

Colours are told apart by colour-blind readers too (Okabe and Ito, 2008), and marks by their shape in grey.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from policies.pareto import non_dominated
from policies.policy import CONTROL_RATE, MeasuredPolicy, Objectives
from policies.search.objectives import OBJECTIVES, Objective
from policies.study import Baseline, Study
from thinwire.errors import InvalidRequestError

INK = "#222222"
# What baselines do not wear.
STUDY_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")


@dataclass(frozen=True)
class Mark:
    """How a family of baselines is drawn.

    Attributes:
        colour: of its inside.
        marker: as matplotlib names the shape.
        symbol: as plotly does.
        symbol_3d: the nearest of the few shapes that plotly has in space.
        size: of its width in points.
    """

    colour: str
    marker: str
    symbol: str
    symbol_3d: str
    size: float


MARKS = {
    "unmerged": Mark("#000000", "*", "star", "diamond", 13.0),
    "one-threshold": Mark("#E69F00", "^", "triangle-up", "diamond-open", 7.5),
    "tome": Mark("#56B4E9", "s", "square", "square", 6.5),
    "pooled-token": Mark("#F0E442", "D", "diamond", "diamond", 6.5),
    "logits": Mark("#999999", "P", "cross", "cross", 8.5),
    "label": Mark("#FFFFFF", "X", "x", "x", 8.5),
}
OTHER_MARK = Mark("#DDDDDD", "p", "pentagon", "circle", 8.5)


@dataclass(frozen=True)
class StudyData:
    """A study with all that is drawn of it, as the store gives it."""

    study: Study
    trials: tuple[MeasuredPolicy, ...]
    baselines: tuple[Baseline, ...] = ()


# Objectives as they are drawn: a search weighs the change of accuracy, and a reader wants to know how often the answer
# is right; tokens are counted in differences.
AXES = OBJECTIVES | {
    "accuracy": replace(OBJECTIVES["accuracy"], value=lambda o: o.accuracy, error=lambda o: o.accuracy_se),
    "tokens": replace(OBJECTIVES["tokens"], in_ratios=False),
}


def choose_axes(names: Sequence[str]) -> tuple[Objective, ...]:
    """The axes of two or three objectives.

    Raises:
        InvalidRequestError: they are fewer or more, one is unknown, or one stands twice.
    """
    if not 2 <= len(names) <= 3 or len(set(names)) < len(names) or not set(names) <= AXES.keys():
        raise InvalidRequestError(
            f"expected two or three different objectives of {', '.join(AXES)}, got {', '.join(names) or 'none'}"
        )
    return tuple(AXES[name] for name in names)


def panels(axes: Sequence[Objective]) -> list[tuple[int, int]]:
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


def series(data: StudyData, axes: Sequence[Objective]) -> Series:
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
    members: dict[str, list[Baseline]] = {}
    left_out = 0
    for baseline in data.baselines:
        if any(axis.value(baseline.objectives) is None for axis in axes):
            left_out += 1
        else:
            members.setdefault(baseline.family, []).append(baseline)
    return Series(
        study.name,
        _caption(data, left_out),
        everything,
        Points(everything.values[front], everything.errors[front], tuple(everything.notes[i] for i in front)),
        {
            family: _points(axes, [one.objectives for one in alike], [_baseline_notes(one) for one in alike])
            for family, alike in members.items()
        },
    )


def staircase(points: Points, axes: Sequence[Objective], across: int, up: int) -> NDArray[np.float64]:
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


def logarithmic(studies: Sequence[Series], axes: Sequence[Objective], column: int) -> bool:
    """Whether a column's axis is drawn in ratios, in which zero has no place."""
    return axes[column].in_ratios and all((study.everything[:, column] > 0).all() for study in studies)


def families(studies: Iterable[Series]) -> list[str]:
    """Every family of the studies' baselines once: the known ones in their order, then others."""
    present = dict.fromkeys(family for study in studies for family in study.baselines)
    return [*(family for family in MARKS if family in present), *(family for family in present if family not in MARKS)]


def title(studies: Sequence[Series]) -> str:
    """The heading of a drawing."""
    names = ", ".join(study.name for study in studies)
    return f"Pareto front{'s' if len(studies) > 1 else ''} of {names}"


def captions(studies: Sequence[Series], axes: Sequence[Objective]) -> list[str]:
    """The lines under a drawing: what each study was measured with and on, and what the marks and lines mean."""
    over = ", ".join(axis.label.partition(",")[0] for axis in axes)
    lines = "The line is that front" if len(axes) == 2 else "Lines are the fronts of the two axes shown"
    rims = " Baselines have rims in their study's colour." if len(studies) > 1 else ""
    meaning = f"Front over {over}. {lines}; bars are one standard error.{rims}"
    return [*(study.caption for study in studies), meaning]


def _points(axes: Sequence[Objective], measured: Sequence[Objectives], notes: Sequence[tuple[str, ...]]) -> Points:
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
    study = data.study
    counts = sorted({one.objectives.n for one in data.trials} | {one.objectives.n for one in data.baselines})
    images = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    missing = f"; {left_out} baselines not measured on these axes" if left_out else ""
    return (
        f"{study.name}: bundle {study.bundle_name} {study.bundle_digest[:10]}, "
        f"{study.channel.name}, control rate {CONTROL_RATE:g} bit/use, "
        f"{study.split} split, {images} images, "
        f"{len(data.trials)} trials, seed {study.seed}{missing}"
    )
