"""Logs are one JSON object a line, whatever is logged."""

import io
import json
import logging
import math
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from thinwire.logs import JsonFormatter, configure


@pytest.fixture(name="log")
def log_fixture():
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("edge"))
    logger = logging.Logger("room.file")
    logger.addHandler(handler)

    def entries():
        def refuse(name):
            raise AssertionError(f"{name} is not JSON")

        return [json.loads(line, parse_constant=refuse) for line in stream.getvalue().splitlines()]

    return logger, entries


def test_fields(log):
    logger, entries = log
    before = datetime.now(UTC)
    logger.warning("%d frames", 3, extra={"request_id": "ab", "ms": 1.5})
    (entry,) = entries()
    time = datetime.fromisoformat(entry.pop("time"))
    assert abs((time - before).total_seconds()) < 60
    assert entry == {
        "level": "warning",
        "service": "edge",
        "logger": "room.file",
        "message": "3 frames",
        "request_id": "ab",
        "ms": 1.5,
    }


def test_one_record_is_one_line(log):
    logger, entries = log
    logger.info("one\ntwo\u2028three \ud800 é", extra={"text": "a\r\nb"})
    (entry,) = entries()
    assert entry["message"] == "one\ntwo\u2028three \ud800 é"
    assert entry["text"] == "a\r\nb"


def test_an_exception_brings_its_traceback(log):
    logger, entries = log
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    (entry,) = entries()
    assert entry["level"] == "error"
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ValueError: broken")


def test_what_json_does_not_have_becomes_text(log):
    logger, entries = log
    logger.info("x", extra={"snr_db": math.inf, "loss": math.nan, "kind": ValueError("v"), "set": {1}})
    (entry,) = entries()
    assert (entry["snr_db"], entry["loss"], entry["kind"], entry["set"]) == ("inf", "nan", "v", "{1}")


def test_configure_replaces_what_was_there(monkeypatch):
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    # basicConfig(force=True) closes what it takes away, and those are pytest's.
    root.handlers[:] = [old := logging.StreamHandler(io.StringIO())]
    try:
        configure("cloud", "WARNING")
        assert old not in root.handlers
        logging.getLogger("a.b").info("quiet")
        logging.getLogger("a.b").error("loud")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    (line,) = stream.getvalue().splitlines()
    entry = json.loads(line)
    assert (entry["service"], entry["logger"], entry["message"]) == ("cloud", "a.b", "loud")


def run(program, stderr=subprocess.PIPE, service="cloud"):
    """A process with a configured log: its status, what it printed, and its log's lines."""
    start = f"import ctypes, os, sys, warnings\nfrom thinwire.logs import configure\nconfigure({service!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + program], stdout=subprocess.PIPE, stderr=stderr, timeout=100, check=False
    )
    lines = [json.loads(line) for line in (done.stderr or b"").splitlines()]
    assert all(line["service"] == service for line in lines)
    return done.returncode, done.stdout.decode(), lines


def test_what_others_write_to_standard_error_becomes_lines_of_the_log():
    program = r"""
from tqdm import tqdm
ctypes.PyDLL(None).write(2, b"TIFFReadDirectory: Warning\n\n", 28)
print("thinwire: unavailable", file=sys.stderr)
warnings.warn("old")
list(tqdm(range(3)))
os.write(2, b"\xff last, and no end")
"""
    status, _, lines = run(program)
    assert status == 0
    assert [line["message"] for line in lines if line["logger"] == "stderr"][:2] == [
        "TIFFReadDirectory: Warning",
        "thinwire: unavailable",
    ]
    assert lines[-1]["message"] == r"\xff last, and no end"
    (warned,) = [line for line in lines if line["logger"] == "py.warnings"]
    assert warned["message"].startswith("<string>:8: UserWarning: old")
    assert any("3/3" in line["message"] for line in lines)


def test_an_error_that_nobody_caught_is_one_line():
    status, _, (line,) = run("def f():\n    raise ValueError('broken')\nf()")
    assert status == 1
    assert (line["level"], line["message"]) == ("critical", "unexpected error")
    assert line["exception"].endswith("ValueError: broken")


def test_no_library_can_fill_what_nobody_can_read_while_it_writes():
    # PyDLL keeps the interpreter's lock, as an image's decoder does.
    program = r"""
text = (b"x" * 99 + b"\n") * 20_000
print(ctypes.PyDLL(None).write(2, text, len(text)))
"""
    status, written, lines = run(program)
    assert status == 0
    assert 0 < 100 * len(lines) - 100 <= int(written) < 2_000_000


def test_a_log_that_cannot_be_written_is_lost_without_a_word():
    # A word about it would be one more line that cannot be written.
    program = r"""
import logging, threading
seen = []
logging.getLogger().handlers[0].addFilter(lambda record: seen.append(record) or True)
logging.getLogger("a").warning("lost")
(relay,) = [thread for thread in threading.enumerate() if thread.name == "stderr"]
os.dup2(1, 2)
relay.join()
print(len(seen))
"""
    with open("/dev/full", "w") as full:
        assert run(program, full)[:2] == (0, "1\n")
