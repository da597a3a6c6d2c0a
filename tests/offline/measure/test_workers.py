"""Processes that measure: none outlives a search, and what they have begun is not lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from offline.measure.workers import pool, run_all
from policies.policy import Policy
from tests.parts import random_pixels
from thinwire.errors import EvaluationError

ROOT = Path(__file__).parents[3]
POLICIES = [Policy.create([0.1 * number], 1) for number in range(5)]


class Idle:
    """A task that measures nothing."""

    def meter(self):
        return None


def _die(policy):
    os._exit(9)


class Large(Idle):
    """More than the pipe that starts a process holds."""

    def __init__(self):
        self.images = bytes(2**20)


def test_a_process_that_dies_while_it_starts_is_told(tmp_path):
    # Without a guard a script is run again by each process that it starts, which Python forbids.
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from offline.measure.workers import measure, pool\n"
        "from tests.offline.measure.test_workers import Large\n"
        "with pool(Large(), 1) as processes:\n"
        "    processes.submit(measure, None).result()\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert "EvaluationError: a process of the pool died" in done.stderr
    assert 'if __name__ == "__main__"' in done.stderr or "if __name__ == '__main__'" in done.stderr


def _by_run_all(processes):
    list(run_all(processes, _die, POLICIES, 1, print))


def _by_map(processes):
    list(processes.map(_die, POLICIES))


# Runs one command after the other, each in a process and session of its own, and says its id and how it ended: torch is
# loaded once for all of them, and none inherits more than that.
COMMANDS = """
import json, os, sys
import offline.measure.studies
from deploy.cli.main import main
for line in sys.stdin:
    arguments, log = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        for number in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
        sys.exit(main(arguments))
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Command:
    """A command that `COMMANDS` runs."""

    def __init__(self, commands, arguments, log):
        self._commands, self._log = commands, log
        print(json.dumps([arguments, str(log)]), file=commands.stdin, flush=True)
        self.pid = int(commands.stdout.readline())

    def ended(self):
        """Waits for its exit status, or minus the signal that ended it."""
        return int(self._commands.stdout.readline())

    def told(self):
        return self._log.read_text() if self._log.exists() else ""

    def members(self):
        """The command lines of its session's processes that still run."""
        listed = subprocess.run(["ps", "-ww", "-o", "stat=,args=", "-g", str(self.pid)], capture_output=True, text=True)
        return [line for line in listed.stdout.splitlines() if line.strip() and not line.startswith("Z")]


@pytest.fixture(name="commands", scope="module")
def commands_fixture():
    with subprocess.Popen(
        [sys.executable, "-c", COMMANDS], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as commands:
        yield commands


@pytest.fixture(name="search")
def search_fixture(commands, tiny_bundle, tmp_path):
    """A search that goes on for long."""
    for number, pixels in enumerate(random_pixels(14)):
        folder = tmp_path / "data" / tiny_bundle.labels[number % 7]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    data = ["--bundle", str(tiny_bundle.folder), "--data", str(tmp_path / "data"), "--split", "test"]
    options = ["--strategy", "sobol", "--evaluations", "100000", "--store", f"sqlite:///{tmp_path / 's.sqlite'}"]
    search = Command(commands, ["policies", "search", "s", *data, *options], tmp_path / "told")
    yield search
    # Of a test that failed.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(search.pid, signal.SIGKILL)


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("begun", [False, True], ids=["while its process starts", "while it measures"])
def test_ctrl_c_ends_a_search_and_its_processes_without_a_word_of_python(search, begun):
    if begun:
        wait_for(lambda: "hypervolume" in search.told())
    else:
        wait_for(lambda: any("spawn_main" in one for one in search.members()))
        time.sleep(0.3)
    os.killpg(search.pid, signal.SIGINT)
    assert search.ended() == 130
    assert "Traceback" not in search.told()
    assert "KeyboardInterrupt" not in search.told()
    # Python's own resource tracker ends when nobody holds its pipe any more, a moment later.
    wait_for(lambda: not search.members())


def test_no_process_outlives_a_search_that_is_killed(search):
    wait_for(lambda: "hypervolume" in search.told())
    os.kill(search.pid, signal.SIGKILL)
    assert search.ended() == -signal.SIGKILL
    wait_for(lambda: not search.members())


def test_every_answer_is_kept_as_it_comes():
    kept = []
    with ThreadPoolExecutor(2) as threads:
        steps = [len(kept) for _ in run_all(threads, lambda policy: policy.id, POLICIES, 2, kept.append)]
    assert steps == [1, 2, 3, 4, 5]
    assert sorted(kept) == sorted(policy.id for policy in POLICIES)


def test_what_is_in_flight_when_it_ends_is_kept_and_nothing_more_is_begun():
    kept, begun, free = [], [], threading.Event()

    def measure(policy):
        begun.append(policy)
        if len(begun) > 1:
            assert free.wait(60)
        return policy

    with ThreadPoolExecutor(2) as threads:
        answers = run_all(threads, measure, POLICIES, 2, kept.append)
        next(answers)
        threading.Timer(0.1, free.set).start()
        with pytest.raises(KeyboardInterrupt):
            answers.throw(KeyboardInterrupt)
    assert kept == begun == POLICIES[:2]


@pytest.mark.parametrize("call", [_by_run_all, _by_map])
def test_a_process_that_dies_is_told(call):
    with pytest.raises(EvaluationError, match="a process of the pool died"), pool(Idle(), 1) as processes:
        call(processes)
