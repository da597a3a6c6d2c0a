"""Does the search pay? Bayesian optimisation against random points, a Sobol sequence and NSGA-II, seed by seed."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from experiments.harness.experiment import Experiment
from experiments.harness.report import Curve, Plot, Report, Table, mean
from experiments.harness.setting import Setting
from offline.data.sources import SELECT
from offline.measure.box import search_space
from offline.measure.studies import OBJECTIVES, open_study, sweep
from offline.measure.workers import Task, pool
from policies.pareto import hypervolume, non_dominated
from policies.policy import MeasuredPolicy
from policies.search.objectives import Scale
from policies.search.run import Goal, Search
from policies.search.strategy import load_strategy, strategy_versions
from policies.store import Store
from thinwire.bundle import load_bundle
from thinwire.channels import Channel
from thinwire.cores import usable_cores

CHANNEL = Channel("awgn", 10.0)
# Random search is given twice the trials: what it needs to stand where the others do says more than who is ahead.
ARMS = {"qlognehvi": 1, "random": 2, "sobol": 1, "nsga2": 1}
EVERY = 10
EVALUATIONS = 50
SEEDS = 5
IMAGES = 2000

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """One strategy on one seed."""

    strategy: str
    seed: int
    evaluations: int
    task: Task
    url: str

    @property
    def study_name(self) -> str:
        """Its study in the store."""
        return f"{self.strategy}-{self.seed}"


def search(job: Job) -> None:
    """Run one search to its end, or go on where it was cut off."""
    bundle = load_bundle(str(job.task.bundle))
    meter = job.task.meter()
    scale = Scale.of_unmerged(OBJECTIVES, meter.unmerged())
    space = search_space(meter.evaluator.engine, job.task.images.even_sample(256))
    strategy = load_strategy(job.strategy)(space, len(OBJECTIVES), job.seed)
    with Store(job.url) as store, ThreadPoolExecutor(1) as executor:
        settings = {
            "strategy": job.strategy,
            "strategy_versions": strategy_versions(job.strategy),
            "scale": asdict(scale),
            "space": asdict(space),
        }
        study = open_study(store, job.study_name, bundle, job.task, settings)
        goal = Goal(study, strategy, scale)
        Search(store, [goal], lambda policies: [meter.measure(policies[0])], executor).run(job.evaluations)


def front(trials: Sequence[MeasuredPolicy], scale: Scale) -> list[MeasuredPolicy]:
    """The trials that no other dominates and that are better than the reference point, as measured on *select*."""
    utilities = np.stack([scale.utilities(trial.objectives) for trial in trials])
    kept = non_dominated(utilities, [True] * utilities.shape[1]) & (utilities > 0).all(axis=1)
    return [trial for trial, keep in zip(trials, kept, strict=True) if keep]


def on_test(trials: Sequence[MeasuredPolicy], scale: Scale, test: dict[str, MeasuredPolicy]) -> float:
    """Hypervolume on the test images of the front that these trials make on *select*."""
    return hypervolume([scale.utilities(test[one.policy.digest].objectives) for one in front(trials, scale)])


def run(setting: Setting) -> Report:
    """Search, measure what was found on the test images, and compare; see `EXPERIMENT`."""
    bundle = load_bundle("cifar10")
    url = f"sqlite:///{setting.folder / 'ablation.sqlite'}"
    evaluations, seeds = (2, 2) if setting.quick else (EVALUATIONS, SEEDS)
    every = 1 if setting.quick else EVERY
    task = Task(bundle.folder, setting.images(bundle, SELECT, IMAGES), "select", (CHANNEL,), setting.seed)
    jobs = [
        Job(strategy, seed, evaluations * factor, replace(task, seed=seed), url)
        # Another seed shares none with this one.
        for seed in range(seeds * setting.seed, seeds * (setting.seed + 1))
        for strategy, factor in ARMS.items()
    ]
    processes = usable_cores()
    # Each search suggests and measures in one process of one thread, so that its trials do not hang on how many run.
    with pool(task, processes) as executor:
        for job, _ in zip(jobs, executor.map(search, jobs), strict=True):
            log.info("%s: %d trials", job.study_name, job.evaluations)
    # The unmerged model costs the same on every image and under every noise: one scale holds for all.
    scale = Scale.of_unmerged(OBJECTIVES, task.meter().unmerged())
    with Store(url) as store:
        studies = {study.name: study for study in store.studies()}
        trials = {job.study_name: store.trials(studies[job.study_name]) for job in jobs}
    wanted = {
        one.policy.digest: one.policy
        for job in jobs
        for count in range(every, job.evaluations + 1, every)
        for one in front(trials[job.study_name][:count], scale)
    }
    test_task = replace(task, images=setting.images(bundle), split="test")
    with Store(url) as store:
        # What the store has already is not measured again.
        for _, _, studies_on_test in sweep(store, "test", test_task, wanted.values(), processes):  # noqa: B007
            pass
        test = {one.policy.digest: one for one in store.trials(studies_on_test[0])}
    arms = {}
    for strategy in ARMS:
        rows = [trials[job.study_name] for job in jobs if job.strategy == strategy]
        counts = range(every, len(rows[0]) + 1, every)
        arms[strategy] = np.array([[on_test(row[:count], scale, test) for count in counts] for row in rows])
    return report(arms, every)


def report(arms: dict[str, NDArray[np.float64]], every: int) -> Report:
    """The convergence of each strategy, and Bayesian optimisation against random search with twice the trials.

    Args:
        arms: by strategy, hypervolumes on the test images, ``seeds x checkpoints``.
        every: trials from one checkpoint to the next.
    """
    rows: list[dict[str, Any]] = []
    for index in range(max(values.shape[1] for values in arms.values())):
        row: dict[str, Any] = {"trials": every * (index + 1)}
        for strategy, values in arms.items():
            row[strategy] = mean(values[:, index]) if index < values.shape[1] else None
        rows.append(row)
    ahead = arms["qlognehvi"][:, -1] - arms["random"][:, -1]
    middle = mean(ahead)
    paired: dict[str, Any] = {
        "difference": "qLogNEHVI less random with twice the trials",
        "mean": middle.value,
        # Student's t.
        "95% interval, +-": float(stats.t.ppf(0.975, len(ahead) - 1)) * middle.se,
        "seeds ahead": f"{int((ahead > 0).sum())} of {len(ahead)}",
    }
    curves = [
        Curve.through(
            strategy, [every * (index + 1) for index in range(values.shape[1])], [mean(column) for column in values.T]
        )
        for strategy, values in arms.items()
    ]
    digits = {**dict.fromkeys(arms, 3), "mean": 3, "95% interval, +-": 3}
    return Report(
        [
            Table("Hypervolume on the test images, mean over seeds and its standard error", rows, digits),
            Table("Paired by seed, after the last trial", [paired], digits),
        ],
        [Plot("convergence", "evaluated policies", "hypervolume", {"": curves})],
    )


EXPERIMENT = Experiment(
    name="search",
    title="Does the search pay?",
    about=f"""
Searches over the policies of the bundle `cifar10`: {IMAGES:,} images of *select*, AWGN at 10 dB, {EVALUATIONS} trials
and {SEEDS} seeds. The seeds are paired: one seed means one noise and, for Bayesian optimisation (qLogNEHVI) and the
Sobol sequence, the same first points. Random search has twice the trials: what it needs to stand where the others do
says more than who is ahead. Reference point (ten points of accuracy lost, the unmerged model's compute and uses) and
scale were fixed before any search. The front that the trials make on *select* is measured on the test images, and its
hypervolume there is what the table has.
""",
    run=run,
    data=("cifar10-test.tar", "cifar10-train.tar"),
    packages=("botorch", "pymoo"),
)
