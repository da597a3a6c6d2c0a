"""The loop: what is kept, what is never done twice, and what is said when something fails."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from policies.policy import Policy
from policies.search import bayes
from policies.search.genetic import GeneticSearch
from policies.search.known import SHARED
from policies.search.run import Goal, Search
from policies.search.space import SearchSpace
from policies.search.strategy import ExhaustedError, RandomSearch, SobolSearch, Suggestion
from policies.store import Store
from policies.study import Study
from tests.policies.search import toy
from thinwire.channels import Channel
from thinwire.errors import EvaluationError

ROOT = Path(__file__).parents[3]
IDENTITY = {
    "bundle_name": "toy",
    "bundle_digest": "b" * 64,
    "channel": Channel("awgn", 10.0),
    "split": "select",
    "data_digest": "d" * 64,
    "seed": 7,
    "versions": {"thinwire": "0.1.0"},
}
CHEAPLY = {"DRAWS": 8, "RAW_POINTS": 16, "RESTARTS": 2, "ITERATIONS": 5}
# For every line it reads it forks a process that searches, names it and says how it ended: torch is loaded but once.
# The arguments are the store's URL, the file that every measured policy is written to, and the trials wanted.
KILLABLE = f"""
import os, sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from policies.search import bayes
from policies.study import Study
from policies.search.run import Goal, Search
from policies.store import Store
from tests.policies.search import toy
from tests.policies.search.test_run import IDENTITY

vars(bayes).update({CHEAPLY})

def measure(policy):
    time.sleep(0.02)
    with open(sys.argv[2], "a") as log:
        print(policy.digest, file=log)
    return toy.measure(policy)

def search():
    with Store(sys.argv[1]) as store, ThreadPoolExecutor(1) as pool:
        strategy = bayes.BayesianSearch(toy.space(2), 3, seed=0, start=8)
        goal = Goal(store.study(Study("s", **IDENTITY)), strategy, toy.scale(2))
        Search(store, [goal], partial(toy.each, measure), pool).run(int(sys.argv[3]))

for _ in sys.stdin:
    pid = os.fork()
    if pid == 0:
        search()
        os._exit(0)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@pytest.fixture
def store(tmp_path):
    with Store(f"sqlite:///{tmp_path / 'policies.db'}") as opened:
        yield opened


@pytest.fixture
def study(store):
    return store.study(Study("s", **IDENTITY))


@pytest.fixture(scope="module")
def pool():
    with ThreadPoolExecutor(2) as threads:
        yield threads


class Alone(Search):
    """A search for one study, whose trials it gives."""

    def run(self, evaluations):
        (trials,) = super().run(evaluations)
        return trials


def search(store, study, pool, measure=toy.measure, strategy=None, **options):
    strategy = strategy or SobolSearch(toy.space(), 0)
    return Alone(store, [Goal(study, strategy, toy.scale())], partial(toy.each, measure), pool, **options)


def sobol(n):
    """What a Sobol search tries."""
    with Store("sqlite://") as apart, ThreadPoolExecutor(1) as threads:
        return [one.policy for one in search(apart, apart.study(Study("s", **IDENTITY)), threads).run(n)]


def lines(log):
    return log.read_text().split() if log.exists() else []


@pytest.mark.timeout(300)
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(store, study, tmp_path, pool, monkeypatch):
    evaluations = 11
    for name, value in CHEAPLY.items():
        monkeypatch.setattr(bayes, name, value)
    strategy = bayes.BayesianSearch(toy.space(2), 3, seed=0, start=8)
    (whole,) = Search(store, [Goal(study, strategy, toy.scale(2))], partial(toy.each, toy.measure), pool).run(
        evaluations
    )
    broken, url = tmp_path / "broken.log", f"sqlite:///{tmp_path}/broken.db"
    command = [sys.executable, "-c", KILLABLE, url, str(broken), str(evaluations)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as forking:

        def begin():
            print(file=forking.stdin, flush=True)
            return int(forking.stdout.readline())

        # Once within the Sobol points, once as the model begins.
        for number in (3, 8):
            pid = begin()
            while len(lines(broken)) < number:
                assert forking.poll() is None
                time.sleep(0.001)
            os.kill(pid, signal.SIGKILL)
            assert int(forking.stdout.readline()) == -signal.SIGKILL
        begin()
        assert int(forking.stdout.readline()) == 0
    with Store(url) as again:
        trials = again.trials(again.study(Study("s", **IDENTITY)))
    assert trials == whole
    assert len({one.policy for one in trials}) == evaluations
    # Only what was in flight when the process died may have been begun twice.
    assert len(lines(broken)) <= evaluations + 2
    assert list(dict.fromkeys(lines(broken))) == [one.policy.digest for one in whole]


FADING = Channel("rayleigh", 10.0)


def measure_on_both(policies):
    """Two channels, of which the second answers worse; the last of the relatives is left out."""
    found = [toy.measure(policy) for policy in policies[:-1] or policies]
    worse = [replace(one.objectives, accuracy_change=one.objectives.accuracy_change - 0.02) for one in found]
    fading = [replace(one, channel=FADING, objectives=other) for one, other in zip(found, worse, strict=True)]
    return [found, fading]


def both(store, pool, strategies, measure=measure_on_both):
    studies = [store.study(Study(name, **{**IDENTITY, "channel": channel}))
               for name, channel in (("plain", IDENTITY["channel"]), ("fading", FADING))]  # fmt: skip
    goals = [Goal(study, strategy, toy.scale()) for study, strategy in zip(studies, strategies, strict=True)]
    return Search(store, goals, measure, pool, relatives=toy.space().relatives)


def test_studies_propose_in_turn_and_share_what_is_measured(store, pool):
    space, asked = toy.space(), []

    def measure(policies):
        asked.append(policies)
        return measure_on_both(policies)

    trials = both(store, pool, (RandomSearch(space, 0), RandomSearch(space, 1)), measure).run(4)
    assert [policies[1:] for policies in asked] == [tuple(space.relatives(policies[0])) for policies in asked]
    for number, study in enumerate(store.studies()):
        assert [one.policy for one in trials[number]] == [one for policies in asked for one in policies[:-1]]
        proposed = [trial for trial in store.trial_log(study) if trial.source != SHARED]
        assert [trial.measured.policy for trial in proposed] == [policies[0] for policies in asked[number::2]]
        assert all(trial.source == "random" and trial.seconds > 0 for trial in proposed)


def test_a_strategy_is_told_all_proposals_and_of_the_rest_what_is_of_use(store, pool):
    told = []

    class Watched(RandomSearch):
        def suggest(self, observed, pending):
            told.append([one.policy for one in observed])
            return super().suggest(observed, pending)

    trials = both(store, pool, (Watched(toy.space(), 0), Watched(toy.space(), 1))).run(7)[1]
    proposals = list({one.policy.thresholds: one.policy for one in reversed(trials)}.values())[::-1]
    # The last suggestion but one was for the second study, which then held what five proposals left.
    held = [one for one in trials if one.policy.thresholds in {policy.thresholds for policy in proposals[:5]}]
    utilities = {one.policy: toy.scale().utilities(one.objectives) for one in held}
    front = [
        policy
        for policy, mine in utilities.items()
        if (mine > 0).all() and not any((its >= mine).all() and (its > mine).any() for its in utilities.values())
    ]
    assert told[-2][:5] == proposals[:5]
    assert set(told[-2]) == {*proposals[:5], *front} != set(proposals[:5])
    assert len(told[-2]) < len(held)


def test_a_shared_search_that_was_cut_off_goes_on_to_the_same_trials(store, tmp_path, pool):
    def strategies():
        return GeneticSearch(toy.space(), 3, seed=0, population=3), SobolSearch(toy.space(), 0)

    whole = both(store, pool, strategies()).run(9)
    calls = []

    def killed(policies):
        calls.append(policies)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return measure_on_both(policies)

    with Store(f"sqlite:///{tmp_path}/cut.db") as cut:
        with pytest.raises(KeyboardInterrupt):
            both(cut, pool, strategies(), killed).run(9)
        assert both(cut, pool, strategies()).run(9) == whole
        assert len({one.policy.thresholds for one in whole[0]}) <= 9


def test_what_a_strategy_asks_for_and_is_known_is_told_and_not_measured_again(store, pool):
    # Whatever the point, one vector of thresholds: the first proposal's relatives hold all but the last of a cross.
    space = SearchSpace.box([0.5], [0.5], [2, 4, 8])
    policies = [Policy.create([0.5], rate) for rate in space.rates]

    class Fixed:
        """Proposes what comes first of three and is not known to it."""

        def __init__(self):
            self.space = space

        def suggest(self, observed, pending):
            known = {one.policy for one in observed}
            new = [policy for policy in policies if policy not in known]
            if not new:
                raise ExhaustedError
            return Suggestion(new[0], "fixed")

    study = store.study(Study("s", **IDENTITY))
    measured = []

    def measure(asked):
        measured.append(asked)
        return toy.each(toy.measure, asked)

    goals = [Goal(study, Fixed(), toy.scale())]
    (trials,) = Search(store, goals, measure, pool, relatives=lambda policy: policies[:2]).run(9)
    assert [one.policy for one in trials] == policies
    assert [asked[0] for asked in measured] == [policies[0], policies[2]]


def test_a_search_goes_on_from_what_is_there(store, study, pool):
    measured = []

    def measure(policy):
        measured.append(policy)
        return toy.measure(policy)

    for wanted in (0, 3, 3, 7, 5):
        trials = search(store, study, pool, measure).run(wanted)
    assert [one.policy for one in trials] == measured == sobol(7)
    assert store.trials(study) == trials


def test_it_reports_where_it_stands(store, study, pool):
    reports = []
    search(store, study, pool, report=reports.append).run(4)
    assert [(one.evaluations, one.wanted) for one in reports] == [(number, 4) for number in range(1, 5)]
    volumes = [one.hypervolume for one in reports]
    assert volumes == sorted(volumes)
    assert volumes[-1] > 0
    assert all(one.seconds_left > 0 for one in reports[:-1])
    assert reports[-1].seconds_left == 0
    assert all(one.suggesting_seconds > 0 and one.stagnation is None for one in reports)


def test_sources_and_times_are_kept(store, study, pool, monkeypatch):
    kept = []
    monkeypatch.setattr(store, "add_trials", lambda trials: kept.extend(trial for _, trial in trials))

    def slow(policy):
        time.sleep(0.05)
        return toy.measure(policy)

    class Twice:
        """So that the search ends although the store keeps nothing."""

        space = toy.space()

        def suggest(self, observed, pending):
            if len(kept) == 2:
                return None
            return SobolSearch(self.space, len(kept)).suggest(observed, pending)

    search(store, study, pool, slow, Twice()).run(2)
    assert [one.source for one in kept] == ["sobol", "sobol"]
    assert all(0.05 <= one.seconds < 60 and 0 < one.suggesting_seconds < 60 for one in kept)


def test_two_processes_at_once(store, study):
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as processes:
        seen = []

        class Watched(SobolSearch):
            def suggest(self, observed, pending):
                seen.append((len(observed), len(pending)))
                return super().suggest(observed, pending)

        trials = search(store, study, processes, strategy=Watched(toy.space(), 0), parallel=2).run(7)
    assert {one.policy for one in trials} == set(sobol(7))
    assert seen[:2] == [(0, 0), (0, 1)]
    assert all(pending <= 1 for _, pending in seen)
    assert [sum(one) for one in seen] == list(range(7))


def test_a_generation_is_waited_for(store, study, pool):
    strategy = GeneticSearch(toy.space(), 3, seed=0, population=3)
    assert len(search(store, study, pool, strategy=strategy, parallel=2).run(8)) == 8


def test_a_failed_evaluation_names_its_policy_and_the_others_are_kept(store, study, pool):
    bad, other = sobol(4)[2:]
    has_begun = threading.Event()

    def measure(policy):
        if policy == bad:
            assert has_begun.wait(60)
            raise ValueError("no such layer")
        if policy == other:
            has_begun.set()
            time.sleep(0.3)
        return toy.measure(policy)

    with pytest.raises(EvaluationError, match=rf"policy {bad.id} .*symbols_per_token.*no such layer") as failure:
        search(store, study, pool, measure, parallel=2).run(9)
    assert isinstance(failure.value.__cause__, ValueError)
    assert {one.policy for one in store.trials(study)} == {*sobol(2), other}
    # Once it is mended, the search goes on.
    assert {one.policy for one in search(store, study, pool).run(6)} == set(sobol(6))


def test_an_answer_for_another_policy_is_refused(store, study, pool):
    with pytest.raises(EvaluationError, match="the evaluator answered with"):
        search(store, study, pool, lambda policy: toy.measure(Policy.create((0.5,) * 6, 8))).run(3)
    assert store.trials(study) == ()


def test_a_process_that_dies_is_told_and_what_was_measured_is_kept(store, study):
    with (
        ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes,
        pytest.raises(EvaluationError, match=f"died while {sobol(3)[2].id} was to be measured"),
    ):
        search(store, study, processes, partial(toy.measure_or_die, sobol(3)[2])).run(9)
    assert [one.policy for one in store.trials(study)] == sobol(2)


def test_a_pool_that_is_broken_already_is_told(store, study):
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as processes:
        processes.submit(os._exit, 9).exception()
        with pytest.raises(EvaluationError, match="a process of the pool died"):
            search(store, study, processes).run(2)


class _Interrupted:
    """An executor of which the first evaluation has ended when Ctrl-C comes; the second has not."""

    def __init__(self):
        self.futures = []

    def submit(self, call, *arguments):
        future = Future()
        if not self.futures:
            future.set_result(call(*arguments))
        self.futures.append(future)
        if len(self.futures) == 3:
            raise KeyboardInterrupt
        return future


def test_ctrl_c_keeps_what_is_finished(store, study):
    executor = _Interrupted()
    with pytest.raises(KeyboardInterrupt):
        search(store, study, executor, parallel=3).run(9)
    assert [one.policy for one in store.trials(study)] == sobol(1)
    assert executor.futures[1].cancelled()


def test_ctrl_c_waits_for_what_has_begun_and_keeps_it(store, study, pool, caplog):
    begun, interrupted = [], threading.Event()

    def measure(policy):
        begun.append(policy)
        if len(begun) > 1:
            assert interrupted.wait(60)
            time.sleep(0.1)
        return toy.measure(policy)

    def report(progress):
        while len(begun) < 2:
            time.sleep(0.001)
        interrupted.set()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(store, study, pool, measure, parallel=2, report=report).run(9)
    assert {one.policy for one in store.trials(study)} == set(begun) == set(sobol(2))
    assert "stopping after the 1 evaluations in flight" in caplog.text


def test_ctrl_c_in_a_worker_is_no_failed_evaluation(store, study, pool):
    def interrupted(policy):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search(store, study, pool, interrupted).run(2)


def test_it_ends_when_there_is_nothing_new(store, study, pool, caplog):
    # The one threshold, or none.
    space = SearchSpace.box([0.5], [0.5], [8])
    trials = search(store, study, pool, strategy=SobolSearch(space, 0), parallel=2).run(100)
    assert len(trials) == 2
    assert [one.getMessage() for one in caplog.records if one.name.startswith("policies.")] == [
        "stopped after 2 of 100 trials: there is nothing new to try"
    ]


class _Stuck:
    space = toy.space()

    def suggest(self, observed, pending):
        # All merging at the first layer, hard: of no use to anybody.
        step = 1e-5 * (len(observed) + len(pending))
        return Suggestion(Policy.create((step, 0, 0, 0, 0, 0), 1, 4), "stuck")

    def length_scales(self, observed):
        return np.full((3, 8), 1e3)


def test_a_search_that_stands_still_says_so_and_ends_if_asked_to(store, study, pool, caplog, monkeypatch):
    monkeypatch.setattr("policies.search.guard.EXPLORATIONS", 0)
    reports = []
    options = {"strategy": _Stuck(), "report": reports.append, "stop_when_stagnant": True}
    assert len(search(store, study, pool, **options).run(50)) == 30
    assert reports[-1].stagnation.is_stagnant
    assert "stopped after 30 of 50 trials: exploration brought no gain" in caplog.text
    # As is the default, it goes on when nobody asked for that.
    assert len(search(store, study, pool, strategy=_Stuck()).run(33)) == 33
