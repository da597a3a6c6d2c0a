"""Does the search pay? Bayesian optimisation against random points, a Sobol sequence and NSGA-II, seed by seed.

``python -m benchmarks.search --data TRAIN --test TEST --work FOLDER`` runs every strategy on every seed: the searches
on a sample of the *select* split, then what they found on the test images. The seeds are paired: one seed means one
noise and, for Bayesian optimisation and Sobol, the same first points. Reference point and scale are those of
`policies.search.objectives.Scale.of_unmerged`, fixed before any search. It goes on where it was cut off.
"""

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from deploy.cli.common import add_bundle, positive_int, print_json, table
from offline.data import load, split_select
from offline.search import OBJECTIVES, open_study
from offline.space import search_space
from offline.workers import Task
from policies.pareto import non_dominated
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy
from policies.search.hypervolume import hypervolume
from policies.search.objectives import Scale
from policies.search.run import Search
from policies.search.strategies import make_strategy, strategy_versions
from policies.store import Store
from thinwire.bundle import load_bundle

CHANNEL = ChannelProfile("awgn", 10.0)
# Random search is given twice the trials: what it needs to stand where the others do says more than who is ahead.
ARMS = {"qlognehvi": 1, "random": 2, "sobol": 1, "nsga2": 1}
TEST_SEED = 0
EVERY = 10


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


def search(job: Job) -> str:
    """Run one search to its end; in a process of its own."""
    torch.set_num_threads(1)
    bundle = load_bundle(str(job.task.bundle))
    meter = job.task.meter()
    scale = Scale.of_unmerged(OBJECTIVES, meter.unmerged())
    space = search_space(meter.evaluator.engine, job.task.images.even_sample(256))
    strategy = make_strategy(job.strategy, space, len(OBJECTIVES), job.seed)
    executor: Executor
    with Store(job.url) as store, ThreadPoolExecutor(1) as executor:
        settings = {
            "strategy": job.strategy,
            "strategy_versions": strategy_versions(job.strategy),
            "scale": scale.to_json(),
            "space": space.to_json(),
        }
        study = open_study(store, job.study_name, bundle, job.task, settings)
        began = time.monotonic()
        Search(store, study, strategy, scale, lambda policy: meter.measure(policy)[0], executor).run(job.evaluations)
    return f"{job.study_name}: {job.evaluations} trials, {time.monotonic() - began:.0f} s"


def front(trials: Sequence[MeasuredPolicy], scale: Scale) -> list[MeasuredPolicy]:
    """The trials that no other dominates and that are better than the reference point, as measured on *select*."""
    utilities = np.stack([scale.utilities(trial.objectives) for trial in trials])
    kept = non_dominated(utilities, [True] * utilities.shape[1]) & (utilities > 0).all(axis=1)
    return [trial for trial, keep in zip(trials, kept, strict=True) if keep]


def remeasure(policies: Iterable[Policy], task: Task, url: str) -> str:
    """Measure policies on the test images; in a process of its own."""
    torch.set_num_threads(1)
    bundle = load_bundle(str(task.bundle))
    with Store(url) as store:
        study = open_study(store, "test", bundle, task, {})
        meter = task.meter()
        for policy in policies:
            store.add_trial(study, meter.measure(policy)[0])
    return "re-measured"


def on_test(trials: Sequence[MeasuredPolicy], scale: Scale, test: dict[str, MeasuredPolicy]) -> float:
    """Hypervolume on the test images of the front that these trials make on *select*."""
    return hypervolume([scale.utilities(test[one.policy.digest].objectives) for one in front(trials, scale)])


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """Mean over seeds, and the half-width of its 95 % interval (Student's t)."""
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean()), float(half)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Search, re-measure, and compare.

    Returns:
        ``checkpoints``, and per arm ``select`` and ``test``: hypervolumes, ``seeds x checkpoints``.
    """
    bundle = load_bundle(options.bundle)
    options.work.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{options.work / 'ablation.sqlite'}"
    _, select = split_select(load(options.data, bundle.preprocessing, bundle.labels))
    sample = select.even_sample(options.images)
    task = Task(bundle.folder, sample, "select", (CHANNEL,), 0)
    jobs = [
        Job(strategy, seed, options.evaluations * factor, replace(task, seed=seed), url)
        for seed in range(options.seeds)
        for strategy, factor in ARMS.items()
    ]
    checkpoints = list(range(EVERY, 2 * options.evaluations + 1, EVERY))
    test_images = load(options.test, bundle.preprocessing, bundle.labels)
    test_task = Task(bundle.folder, test_images, "test", (CHANNEL,), TEST_SEED)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context) as pool:
        for line in pool.map(search, jobs):
            print(line, file=sys.stderr)
    # The unmerged model costs the same on every image and under every noise: one scale holds for all.
    scale = Scale.of_unmerged(OBJECTIVES, task.meter().unmerged())
    with Store(url) as store:
        studies = {study.name: study for study in store.studies()}
        trials = {job.study_name: store.trials(studies[job.study_name]) for job in jobs}
        wanted: dict[str, Policy] = {}
        # The last fronts first: they say the most if the rest has to wait.
        for count in reversed(checkpoints):
            for job in (one for one in jobs if count <= one.evaluations):
                found = front(trials[job.study_name][:count], scale)
                wanted |= {one.policy.digest: one.policy for one in found}
        held = {one.policy.digest for one in store.trials(open_study(store, "test", bundle, test_task, {}))}
    missing = [policy for digest, policy in wanted.items() if digest not in held]
    print(f"{len(wanted)} policies to measure on the test images, {len(missing)} still to do", file=sys.stderr)
    parts = [missing[start :: options.processes] for start in range(options.processes)]
    with ProcessPoolExecutor(options.processes, context) as pool:
        count = len(parts)
        for line in pool.map(remeasure, parts, [test_task] * count, [url] * count):
            print(line, file=sys.stderr)
    with Store(url) as store:
        test = {one.policy.digest: one for one in store.trials(open_study(store, "test", bundle, test_task, {}))}
    arms: dict[str, Any] = {}
    for strategy, factor in ARMS.items():
        counts = [one for one in checkpoints if one <= factor * options.evaluations]
        rows = [trials[f"{strategy}-{seed}"] for seed in range(options.seeds)]
        arms[strategy] = {
            "select": [
                [hypervolume([scale.utilities(one.objectives) for one in row[:count]]) for count in counts]
                for row in rows
            ],
            "test": [[on_test(row[:count], scale, test) for count in counts] for row in rows],
        }
    return {
        "bundle": bundle.name,
        "bundle_digest": bundle.digest,
        "channel": asdict(CHANNEL),
        "images": len(sample),
        "test_images": len(test_images),
        "scale": scale.to_json(),
        "checkpoints": checkpoints,
        "arms": arms,
    }


def as_text(result: dict[str, Any]) -> str:
    """Hypervolume on the test images against evaluations: mean over seeds and 95 % interval."""
    rows = []
    for index, count in enumerate(result["checkpoints"]):
        row = {"evaluations": str(count)}
        for strategy, measured in result["arms"].items():
            values = [seed[index] for seed in measured["test"] if index < len(seed)]
            row[strategy] = "{:.4f} +- {:.4f}".format(*interval(np.array(values))) if len(values) > 1 else ""
        rows.append(row)
    return table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_bundle(parser)
    parser.add_argument("--data", required=True, help="what the bundle was trained on; its select split is searched on")
    parser.add_argument("--test", required=True, help="images that no search saw")
    parser.add_argument("--work", type=Path, required=True, help="folder of the store; a second call goes on there")
    parser.add_argument("--evaluations", type=positive_int, default=50)
    parser.add_argument("--seeds", type=positive_int, default=5)
    parser.add_argument("--images", type=positive_int, default=2000, help="of the select split")
    parser.add_argument("--processes", type=positive_int, default=2)
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    result = run(options)
    if options.plot is not None:
        from policies.plot.draw import draw_convergence

        draw_convergence({name: np.array(arm["test"]) for name, arm in result["arms"].items()}, options.plot, EVERY)
    if options.json:
        print_json(result)
    else:
        print(as_text(result))


if __name__ == "__main__":
    main()
