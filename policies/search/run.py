"""The loop of a search: suggest, measure in a pool, keep, and go on where it was stopped."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass

from policies.pareto import hypervolume
from policies.policy import MeasuredPolicy, Policy
from policies.search.guard import Guard, Stagnation
from policies.search.objectives import Scale
from policies.search.strategy import ExhaustedError, Observation, Strategy, Suggestion
from policies.store import Store
from policies.study import Study
from thinwire.errors import EvaluationError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        evaluations: policies measured so far, those of earlier runs included.
        wanted: how many it will be.
        hypervolume: of what was measured; see `policies.pareto`.
        seconds_left: an estimate from the pace of this run.
        suggesting_seconds: what the latest suggestion took.
        stagnation: the latest verdict on whether the search still gets anywhere; None before there was one.
    """

    evaluations: int
    wanted: int
    hypervolume: float
    seconds_left: float
    suggesting_seconds: float
    stagnation: Stagnation | None


@dataclass(frozen=True)
class _Task:
    suggestion: Suggestion
    suggesting_seconds: float


_Running = dict[Future[tuple[MeasuredPolicy, float]], _Task]


def observe(measured: Sequence[MeasuredPolicy], scale: Scale) -> list[Observation]:
    """Trials as a strategy sees them.

    Raises:
        InvalidRequestError: an objective was not measured.
    """
    return [
        Observation(one.policy, scale.utilities(one.objectives), scale.variances(one.objectives)) for one in measured
    ]


@dataclass
class Search:
    """One strategy at work on one study.

    The store is all that it remembers: what is suggested follows from the trials there, so a search that is killed and
    run again goes on as if it had not been; with one policy at a time, to the same trials.

    Attributes:
        store: where trials go; each is kept as soon as it is measured, so a kill loses what is in flight and no more.
        study: what the policies are measured for.
        strategy: picks policies.
        scale: the objectives.
        measure: measures a policy; it must fit through to the executor's processes.
        executor: where policies are measured; any with the interface of `concurrent.futures`, a cluster's too.
        parallel: policies to measure at once. With more than one, their order and so the suggestions depend on timing.
        report: told where the search stands whenever an evaluation has ended.
        stop_when_stagnant: end early when the search stands still and exploration did not help.
    """

    store: Store
    study: Study
    strategy: Strategy
    scale: Scale
    measure: Callable[[Policy], MeasuredPolicy]
    executor: Executor
    parallel: int = 1
    report: Callable[[Progress], None] = lambda progress: None
    stop_when_stagnant: bool = False

    def __post_init__(self) -> None:
        self._guard = Guard(self.strategy)

    def run(self, evaluations: int) -> tuple[MeasuredPolicy, ...]:
        """Search until the study holds as many trials, or there is nothing new to try.

        What the study holds already counts and is not measured again.

        Returns:
            all trials of the study, the oldest first.

        Raises:
            EvaluationError: a policy could not be measured, or its process died; the other evaluations in flight are
                kept first.
            StoreError: the store failed.
            KeyboardInterrupt: as ever; what has begun is waited for and kept first, unless there comes another.
        """
        trials = self.store.trials(self.study)
        first, started = len(trials), time.monotonic()
        running: _Running = {}
        try:
            while self._fill(running, trials, evaluations):
                wait(running, return_when=FIRST_COMPLETED)
                self._keep(running)
                trials = self.store.trials(self.study)
                pace = (time.monotonic() - started) / max(1, len(trials) - first)
                self._tell(trials, evaluations, pace)
        except BaseException:
            for future in [one for one in running if one.cancel()]:
                del running[future]
            if unfinished := [one for one in running if not one.done()]:
                log.warning("stopping after the %d evaluations in flight", len(unfinished))
            # What has begun cannot be cancelled, and its executor would wait for it all the same.
            wait(running)
            self._keep_ended(running)
            raise
        return trials

    def _fill(self, running: _Running, trials: Sequence[MeasuredPolicy], evaluations: int) -> bool:
        """Begin as many evaluations as there is room for, and say whether any is in flight."""
        observed = observe(trials, self.scale)
        while len(running) < self.parallel and len(trials) + len(running) < evaluations:
            if self.stop_when_stagnant and self._guard.is_spent(observed):
                self._stopped(running, trials, evaluations, "exploration brought no gain")
                break
            began = time.monotonic()
            try:
                suggestion = self._guard.suggest(observed, [task.suggestion.policy for task in running.values()])
            except ExhaustedError:
                self._stopped(running, trials, evaluations, "there is nothing new to try")
                break
            if suggestion is None:
                break
            task = _Task(suggestion, time.monotonic() - began)
            self._suggesting_seconds = task.suggesting_seconds
            try:
                running[self.executor.submit(_timed, self.measure, suggestion.policy)] = task
            except BrokenExecutor as error:
                raise _died([suggestion.policy]) from error
        return bool(running)

    def _stopped(self, running: _Running, trials: Sequence[MeasuredPolicy], evaluations: int, why: str) -> None:
        # What is in flight may change that, and would say it again.
        if not running:
            log.warning("stopped after %d of %d trials: %s", len(trials), evaluations, why)

    def _keep(self, running: _Running) -> None:
        """Keep what has ended; if something failed, wait for the rest and keep that too.

        Raises:
            EvaluationError: something failed.
        """
        failed = self._keep_ended(running)
        if not failed:
            return
        wait(running)
        failed += self._keep_ended(running)
        policy, error = failed[0]
        if isinstance(error, BrokenExecutor):
            # The pool tells of none of them whose process it was.
            raise _died([one for one, cause in failed if isinstance(cause, BrokenExecutor)]) from error
        if not isinstance(error, Exception):
            raise error
        raise EvaluationError(f"policy {policy.id} {policy} could not be measured: {error!r}") from error

    def _keep_ended(self, running: _Running) -> list[tuple[Policy, BaseException]]:
        """Keep what has ended well; return what has failed, in the order in which it was begun."""
        failed: list[tuple[Policy, BaseException]] = []
        for future, task in [(one, running[one]) for one in running if one.done()]:
            policy = task.suggestion.policy
            if not future.cancelled():
                if (error := future.exception()) is not None:
                    failed.append((policy, error))
                else:
                    measured, seconds = future.result()
                    self.store.add_trial(
                        self.study,
                        measured,
                        source=task.suggestion.source,
                        seconds=seconds,
                        suggesting_seconds=task.suggesting_seconds,
                    )
            del running[future]
        return failed

    def _tell(self, trials: Sequence[MeasuredPolicy], evaluations: int, pace: float) -> None:
        observed = observe(trials, self.scale)
        self.report(
            Progress(
                evaluations=len(trials),
                wanted=evaluations,
                hypervolume=hypervolume([one.utilities for one in observed]),
                seconds_left=pace * max(0, evaluations - len(trials)),
                suggesting_seconds=self._suggesting_seconds,
                stagnation=self._guard.verdict(observed),
            )
        )


def _timed(measure: Callable[[Policy], MeasuredPolicy], policy: Policy) -> tuple[MeasuredPolicy, float]:
    # In the worker, so that no time in a queue counts.
    began = time.perf_counter()
    measured = measure(policy)
    if measured.policy != policy:
        # The same suggestion would come again for ever.
        raise ValueError(f"the evaluator answered with {measured.policy}")
    return measured, time.perf_counter() - began


def _died(policies: Sequence[Policy]) -> EvaluationError:
    names = ", ".join(policy.id for policy in policies)
    return EvaluationError(
        f"a process of the pool died while {names} was to be measured (killed, or out of memory?); "
        "what was measured is kept: run the search again to go on"
    )
