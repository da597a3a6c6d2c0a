"""What one test leaves behind is told under its own name, and meets no other."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import asyncio
import logging
import socket

import pytest

from thinwire import logs


class Cycle:
    def __init__(self, held):
        self.me, self.held = self, held


def test_a_leaves_a_socket():
    Cycle(socket.create_server(("127.0.0.1", 0)))


def test_b_leaves_an_event_loop():
    Cycle(asyncio.new_event_loop())


def test_c_leaves_a_file(tmp_path):
    Cycle((tmp_path / "file").open("w"))


def test_d_closes_what_it_opens():
    Cycle(socket.create_server(("127.0.0.1", 0))).held.close()


@pytest.fixture(scope="module")
def shared():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_e_has_a_fixture_that_stays_open(shared):
    assert shared


def test_f_configures_logging(shared):
    logs.configure("cloud")


def test_g_meets_nobody_elses_records(caplog):
    logging.getLogger("somebody").info("quiet")
    assert not caplog.records
    logging.getLogger("somebody").warning("loud")
    assert [record.message for record in caplog.records] == ["loud"]
"""


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc of Linux")
def test_a_leak_fails_the_test_that_made_it(tmp_path):
    (tmp_path / "test_leaving.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.leaks", "-p", "no:cacheprovider", "-rEf", "-q"]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [*command, "--rootdir", str(tmp_path), str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    told = [line.split(" - ")[0].rpartition("::")[2] for line in done.stdout.splitlines() if line.startswith("ERROR ")]
    assert told == ["test_a_leaves_a_socket", "test_b_leaves_an_event_loop", "test_c_leaves_a_file"], done.stdout
    assert "7 passed, 3 errors" in done.stdout
    assert "left open: unclosed <socket.socket" in done.stdout
