"""The loop of a search: suggest, measure in a pool, keep, and go on where it was stopped."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime

from policies.policy import MeasuredPolicy, Policy
from policies.search.guard import Guard, Stagnation
from policies.search.known import SHARED, Known
from policies.search.objectives import Scale
from policies.search.strategy import ExhaustedError, Strategy, Suggestion
from policies.store import Store
from policies.study import Study, Trial
from thinwire.errors import EvaluationError

log = logging.getLogger(__name__)

Measure = Callable[[Sequence[Policy]], Sequence[Sequence[MeasuredPolicy]]]
"""From a policy and its relatives to what was measured of them: for each goal the policy, then any of the relatives."""


@dataclass(frozen=True)
class Progress:
    """Where a search stands.

    Attributes:
        study: name of the one that the latest policy was proposed for.
        evaluations: policies proposed and measured so far, those of earlier runs included.
        wanted: how many it will be.
        hypervolume: of all that the study holds; see `policies.pareto`.
        seconds_left: an estimate from the pace of this run.
        suggesting_seconds: what the latest suggestion took.
        stagnation: the latest verdict on whether the search still gets anywhere; None before there was one.
    """

    study: str
    evaluations: int
    wanted: int
    hypervolume: float
    seconds_left: float
    suggesting_seconds: float
    stagnation: Stagnation | None


@dataclass(frozen=True)
class Goal:
    """One study that a search fills.

    Attributes:
        study: what the policies are measured for.
        strategy: picks policies for it.
        scale: its objectives.
    """

    study: Study
    strategy: Strategy
    scale: Scale


@dataclass(frozen=True)
class _Task:
    goal: int
    suggestion: Suggestion
    suggesting_seconds: float


_Found = Sequence[Sequence[MeasuredPolicy]]
_Running = dict[Future[tuple[_Found, float]], _Task]


@dataclass
class Search:
    """Strategies at work, in turn, on one study each; what is measured for one serves all.

    The store is all that it remembers: what is suggested follows from the trials there, so a search that is killed and
    run again goes on as if it had not been; with one policy at a time, to the same trials. Relatives of a policy, which
    cost little beside it, are measured with it and kept as trials of the source `SHARED`.

    Attributes:
        store: where trials go; what is measured together is kept as soon as it is, all or nothing, so a kill loses what
            is in flight and no more.
        goals: the studies.
        measure: measures a policy and its relatives; it must fit through to the executor's processes.
        executor: where policies are measured; any with the interface of `concurrent.futures`, a cluster's too.
        parallel: policies to measure at once. With more than one, their order and so the suggestions depend on timing.
        report: told where the search stands whenever an evaluation has ended.
        stop_when_stagnant: end early when every goal's search stands still and exploration did not help.
        relatives: names what to measure along with a policy.
    """

    store: Store
    goals: Sequence[Goal]
    measure: Measure
    executor: Executor
    parallel: int = 1
    report: Callable[[Progress], None] = lambda progress: None
    stop_when_stagnant: bool = False
    relatives: Callable[[Policy], Sequence[Policy]] = lambda policy: ()
    _guards: list[Guard] = field(init=False)

    def __post_init__(self) -> None:
        self._guards = [Guard(goal.strategy) for goal in self.goals]

    def run(self, evaluations: int) -> tuple[tuple[MeasuredPolicy, ...], ...]:
        """Search until the studies hold as many proposals together, or there is nothing new to try.

        What the studies hold already counts and is not measured again.

        Returns:
            all trials of each study, the oldest first.

        Raises:
            EvaluationError: a policy could not be measured, or its process died; the other evaluations in flight are
                kept first.
            StoreError: the store failed.
            KeyboardInterrupt: as ever; what has begun is waited for and kept first, unless there comes another.
        """
        logs = self._logs()
        first, started = _proposals(logs), time.monotonic()
        running: _Running = {}
        try:
            while self._fill(running, logs, evaluations):
                wait(running, return_when=FIRST_COMPLETED)
                goal = next(task.goal for future, task in running.items() if future.done())
                self._keep(running)
                logs = self._logs()
                pace = (time.monotonic() - started) / max(1, _proposals(logs) - first)
                self._tell(goal, logs, evaluations, pace)
        except BaseException:
            for future in [one for one in running if one.cancel()]:
                del running[future]
            if unfinished := [one for one in running if not one.done()]:
                log.warning("stopping after the %d evaluations in flight", len(unfinished))
            # What has begun cannot be cancelled, and its executor would wait for it all the same.
            wait(running)
            self._keep_ended(running)
            raise
        return tuple(tuple(trial.measured for trial in trials) for trials in logs)

    def _logs(self) -> list[tuple[Trial, ...]]:
        return [self.store.trial_log(goal.study) for goal in self.goals]

    def _fill(self, running: _Running, logs: Sequence[Sequence[Trial]], evaluations: int) -> bool:
        """Begin as many evaluations as there is room for, and say whether any is in flight."""
        known = [Known(trials, goal.scale) for trials, goal in zip(logs, self.goals, strict=True)]
        done = _proposals(logs)
        while len(running) < self.parallel and done + len(running) < evaluations:
            if self.stop_when_stagnant and all(
                guard.is_spent(one.tried) for guard, one in zip(self._guards, known, strict=True)
            ):
                self._stopped(running, done, evaluations, "exploration brought no gain")
                break
            goal = (done + len(running)) % len(self.goals)
            began = time.monotonic()
            try:
                suggestion = self._suggest(goal, known[goal], [task.suggestion.policy for task in running.values()])
            except ExhaustedError:
                self._stopped(running, done, evaluations, "there is nothing new to try")
                break
            if suggestion is None:
                break
            task = _Task(goal, suggestion, time.monotonic() - began)
            self._suggesting_seconds = task.suggesting_seconds
            policies = (suggestion.policy, *self.relatives(suggestion.policy))
            try:
                running[self.executor.submit(_timed, self.measure, policies)] = task
            except BrokenExecutor as error:
                raise _died([suggestion.policy]) from error
        return bool(running)

    def _suggest(self, goal: int, known: Known, pending: Sequence[Policy]) -> Suggestion | None:
        while True:
            suggestion = self._guards[goal].suggest(known.tried, pending, known.useful)
            if suggestion is None or suggestion.policy.digest not in known.others:
                return suggestion
            # It need not be measured: the strategy is told, and asked again.
            known.useful.append(known.others.pop(suggestion.policy.digest))

    def _stopped(self, running: _Running, done: int, evaluations: int, why: str) -> None:
        # What is in flight may change that, and would say it again.
        if not running:
            log.warning("stopped after %d of %d trials: %s", done, evaluations, why)

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
                    found, seconds = future.result()
                    self.store.add_trials(self._trials(task, found, seconds))
            del running[future]
        return failed

    def _trials(self, task: _Task, found: _Found, seconds: float) -> list[tuple[Study, Trial]]:
        """The trials of what was measured together."""
        now = datetime.now(UTC)
        trials = []
        for index, (goal, measured) in enumerate(zip(self.goals, found, strict=True)):
            shared = [Trial(one, SHARED, None, None, now) for one in measured]
            if index == task.goal:
                shared[0] = Trial(measured[0], task.suggestion.source, seconds, task.suggesting_seconds, now)
            trials += [(goal.study, trial) for trial in shared]
        return trials

    def _tell(self, goal: int, logs: Sequence[Sequence[Trial]], evaluations: int, pace: float) -> None:
        known, done = Known(logs[goal], self.goals[goal].scale), _proposals(logs)
        self.report(
            Progress(
                study=self.goals[goal].study.name,
                evaluations=done,
                wanted=evaluations,
                hypervolume=known.hypervolume(),
                seconds_left=pace * max(0, evaluations - done),
                suggesting_seconds=self._suggesting_seconds,
                stagnation=self._guards[goal].verdict(known.tried),
            )
        )


def _proposals(logs: Sequence[Sequence[Trial]]) -> int:
    return sum(trial.source != SHARED for trials in logs for trial in trials)


def _timed(measure: Measure, policies: Sequence[Policy]) -> tuple[_Found, float]:
    # In the worker, so that no time in a queue counts.
    began = time.perf_counter()
    found = measure(policies)
    for measured in found:
        if measured[0].policy != policies[0]:
            # The same suggestion would come again for ever.
            raise ValueError(f"the evaluator answered with {measured[0].policy}")
    return found, time.perf_counter() - began


def _died(policies: Sequence[Policy]) -> EvaluationError:
    names = ", ".join(policy.id for policy in policies)
    return EvaluationError(
        f"a process of the pool died while {names} was to be measured (killed, or out of memory?); "
        "what was measured is kept: run the search again to go on"
    )
