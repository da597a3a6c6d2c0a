"""Studies to draw."""

from collections.abc import Callable, Sequence

import pytest

from policies.plot.data import Series, StudyData, choose_axes, series
from policies.policy import MeasuredPolicy
from policies.study import Baseline, Study
from thinwire.channels import Channel

# Uses, GMACs and accuracy of five trials. Over uses and accuracy the first, the second and the fifth are the front;
# compute adds the fourth, and the third is worse than the second in everything.
TRIALS = ((10.0, 1.5, 0.6), (100.0, 1.2, 0.7), (200.0, 1.4, 0.65), (300.0, 0.9, 0.68), (400.0, 1.6, 0.75))


def _study_data(
    measured: Callable[..., MeasuredPolicy],
    name: str = "tiny",
    rows: Sequence[tuple[float, float, float]] = TRIALS,
    latency_ms: Sequence[float | None] | None = None,
) -> StudyData:
    channel = Channel("awgn", 10.0)
    study = Study(name, "cifar10", "b" * 64, channel, "select", "d" * 64, 7, {"thinwire": "0.1.0"})
    trials = []
    for index, (uses, gmacs, accuracy) in enumerate(rows):
        latency = None if latency_ms is None else latency_ms[index]
        figures = {"channel_uses": uses, "edge_gmacs": gmacs, "accuracy": accuracy, "accuracy_se": 0.01 + index / 1000}
        trials.append(measured((0.9, index / 10), latency_ms=latency, latency_ms_se=0.1, **figures))
    unmerged = measured(channel_uses=512.0, edge_gmacs=1.8, accuracy=0.77).objectives
    tome = [measured(channel_uses=uses, edge_gmacs=1.3, accuracy=0.66).objectives for uses in (150.0, 250.0)]
    baselines = (
        Baseline("tome", {"r": 13}, tome[0]),
        Baseline("unmerged", {"symbols_per_token": 8}, unmerged),
        Baseline("tome", {"r": 8}, tome[1]),
    )
    return StudyData(study, tuple(trials), baselines)


@pytest.fixture
def study_data(measured: Callable[..., MeasuredPolicy]) -> Callable[..., StudyData]:
    """Makes a study of five trials, of which one is dominated, with three baselines of two families."""
    return lambda *arguments, **options: _study_data(measured, *arguments, **options)


@pytest.fixture
def drawn(study_data: Callable[..., StudyData]) -> Callable[..., Series]:
    """Makes such a study as it is drawn over the objectives of those names."""
    return lambda names, *arguments: series(study_data(*arguments), choose_axes(names))
