"""However the process ends that started the others, it leaves none of them behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy.testbed import LocalTestbed, Ports

# Starts two processes, which need not become ready, names them and waits.
CODE = """
import signal, sys, time
from deploy.testbed import LocalTestbed, Ports
# What is ignored is inherited: the tests themselves may run under nohup.
signal.signal(signal.SIGHUP, signal.SIG_IGN if "nohup" in sys.argv else signal.SIG_DFL)
try:
    with LocalTestbed(["cifar10"], Ports.free(), processes=()) as testbed:
        testbed.start("cloud")
        testbed.start("channel")
        print(testbed.pid("cloud"), testbed.pid("channel"), flush=True)
        while True:
            time.sleep(0.1)
except KeyboardInterrupt:
    sys.exit(130)
"""
TERM, HUP, INT = signal.SIGTERM, signal.SIGHUP, signal.SIGINT


@pytest.fixture(name="begin")
def begin_fixture():
    """Starts `CODE` and returns its process and the ids of the two that it started."""
    started, theirs = [], []

    def begin(*arguments):
        process = subprocess.Popen([sys.executable, "-c", CODE, *arguments], stdout=subprocess.PIPE, text=True)
        started.append(process)
        theirs.extend(map(int, process.stdout.readline().split()))
        assert len(theirs) == 2
        return process, theirs

    yield begin
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
    for pid in filter(lives, theirs):
        os.kill(pid, signal.SIGKILL)


def state(pid):
    """The letter that Linux has for a process's state; empty for none, and where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def lives(pid):
    """Whether a process runs; one that ended and that nobody waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return state(pid) != "Z"


def freeze(pid):
    """Have a process take no SIGTERM any more."""
    os.kill(pid, signal.SIGSTOP)
    while state(pid) not in ("T", ""):
        time.sleep(0.01)


@pytest.mark.parametrize("number", [TERM, HUP, INT])
def test_a_signal_stops_all(begin, number):
    process, theirs = begin()
    process.send_signal(number)
    assert process.wait(60) == 130
    assert not any(map(lives, theirs))


@pytest.mark.parametrize("numbers", [(INT, INT), (TERM, TERM), (HUP, TERM)])
def test_a_second_signal_kills_what_does_not_stop(begin, numbers):
    process, theirs = begin()
    for pid in theirs:
        freeze(pid)
    process.send_signal(numbers[0])
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(numbers[1])
    assert process.wait(15) == 130
    assert not any(map(lives, theirs))


def test_signals_that_come_together_leave_none(begin):
    process, theirs = begin()
    for number in (TERM, HUP, INT):
        process.send_signal(number)
    assert process.wait(60) == 130
    assert not any(map(lives, theirs))


def test_under_nohup_the_end_of_the_terminal_is_none(begin):
    process, theirs = begin("nohup")
    process.send_signal(HUP)
    time.sleep(0.5)
    assert process.poll() is None
    assert all(map(lives, theirs))


def test_each_ends_before_the_next_one_is_told_to():
    # What is on its way from the edge needs the others until it is answered.
    testbed, told = LocalTestbed([], Ports(), processes=()), []

    class Recorded:
        def __init__(self, name):
            self.name = name

        def terminate(self):
            told.append(f"{self.name} is told")

        def wait(self, timeout=None):
            told.append(f"{self.name} ends")

        def kill(self):
            pass

    testbed._processes = {name: Recorded(name) for name in ("cloud", "channel", "edge")}
    testbed.stop()
    order = ("edge", "channel", "cloud")
    assert told[:6] == [f"{name} {what}" for name in order for what in ("is told", "ends")]


def test_handlers_are_put_back_and_those_of_others_kept():
    def ours():
        return signal.getsignal(TERM), signal.getsignal(HUP)

    before = ours()
    try:
        signal.signal(TERM, signal.SIG_DFL)
        signal.signal(HUP, signal.SIG_IGN)
        with LocalTestbed([], Ports(), processes=()):
            assert ours() == (signal.default_int_handler, signal.SIG_IGN)
            # Its own handlers are none of a second one's.
            with LocalTestbed([], Ports(), processes=()):
                pass
            assert ours() == (signal.default_int_handler, signal.SIG_IGN)
        assert ours() == (signal.SIG_DFL, signal.SIG_IGN)
    finally:
        for number, handler in zip((TERM, HUP), before, strict=True):
            signal.signal(number, handler)


def test_a_thread_that_may_not_catch_signals_does_without():
    entered = []

    def enter():
        with LocalTestbed([], Ports(), processes=()):
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered
