"""Logs are one JSON object a line, whatever is logged."""

import io
import json
import logging
import math
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
