"""The loop of a search: suggest, measure in a pool, keep, and go on where it was stopped."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

from policies.policy import Policy
from policies.record import MeasuredPolicy
from policies.search.hypervolume import hypervolume
from policies.search.objectives import Scale
from policies.search.strategy import ExhaustedError, Observation, Strategy
from policies.store import Store
from policies.study import Study

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        evaluations: policies measured so far, those of earlier runs included.
        wanted: how many it will be.
        hypervolume: of what was measured; see `policies.search.hypervolume`.
        seconds_left: an estimate; None before the first evaluation of this run.
        suggesting_s: seconds that the latest suggestion took.
    """

    evaluations: int
    wanted: int
    hypervolume: float
    seconds_left: float | None
    suggesting_s: float


def observe(measured: Sequence[MeasuredPolicy], scale: Scale) -> list[Observation]:
    """Trials as a strategy sees them."""
    return [
        Observation(one.policy, scale.utilities(one.objectives), scale.variances(one.objectives)) for one in measured
    ]


class Search:
    """One strategy at work on one study.

    Args:
        store: where trials go; each is kept as soon as it is measured, so a kill loses what is in flight and no more.
        study: what the policies are measured for.
        strategy: picks policies.
        scale: the objectives.
        measure: measures a policy; it must fit through to the executor's processes.
        executor: where policies are measured; any with the interface of `concurrent.futures`, a cluster's too.
        parallel: policies to measure at once. With more than one, their order and so the suggestions depend on timing.
        report: told where the search stands after every evaluation.
    """

    def __init__(
        self,
        store: Store,
        study: Study,
        strategy: Strategy,
        scale: Scale,
        measure: Callable[[Policy], MeasuredPolicy],
        executor: Executor,
        parallel: int = 1,
        report: Callable[[Progress], None] = lambda progress: None,
    ) -> None:
        self._store = store
        self._study = study
        self._strategy = strategy
        self._scale = scale
        self._measure = measure
        self._executor = executor
        self._parallel = parallel
        self._report = report

    def run(self, evaluations: int) -> tuple[MeasuredPolicy, ...]:
        """Search until the study holds as many trials, or there is nothing new to try.

        What the study holds already counts and is not measured again.

        Returns:
            all trials of the study, the oldest first.

        Raises:
            Exception: what ``measure`` raises; the other evaluations in flight are kept first.
        """
        trials = list(self._store.trials(self._study))
        first, started = len(trials), time.monotonic()
        running: dict[Future[MeasuredPolicy], Policy] = {}
        suggesting_s, exhausted = 0.0, False
        while True:
            while not exhausted and len(running) < self._parallel and len(trials) + len(running) < evaluations:
                began = time.monotonic()
                try:
                    policy = self._strategy.suggest(observe(trials, self._scale), list(running.values()))
                except ExhaustedError:
                    log.warning("nothing new to try after %d evaluations", len(trials))
                    exhausted = True
                    break
                suggesting_s = time.monotonic() - began
                if policy is None:
                    break
                running[self._executor.submit(self._measure, policy)] = policy
            if not running:
                return tuple(trials)
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            self._keep(ended, running, trials)
            spent = (time.monotonic() - started) / max(1, len(trials) - first)
            volume = hypervolume([one.utilities for one in observe(trials, self._scale)])
            left = None if len(trials) == first else spent * max(0, evaluations - len(trials))
            self._report(Progress(len(trials), evaluations, volume, left, suggesting_s))

    def _keep(
        self,
        ended: set[Future[MeasuredPolicy]],
        running: dict[Future[MeasuredPolicy], Policy],
        trials: list[MeasuredPolicy],
    ) -> None:
        failure: BaseException | None = None
        # In the order in which they were begun, so that what ends at once is kept in one order.
        for future in [one for one in running if one in ended]:
            del running[future]
            if (error := future.exception()) is not None:
                failure = failure or error
                continue
            self._store.add_trial(self._study, future.result())
            trials.append(future.result())
        if failure is not None:
            self._keep(set(wait(running).done), running, trials)
            raise failure
