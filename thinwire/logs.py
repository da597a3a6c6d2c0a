"""Logs as one JSON object a line on standard error, what libraries print there among them."""

import atexit
import faulthandler
import json
import logging
import math
import os
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from thinwire import tracing
from thinwire.access import caller

# Uvicorn's second wording of its message, for terminals, is none of ours.
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# How long a process that ends waits for the last lines of others.
_LAST_S = 1.0
# What the caller of the request under way calls it; see `thinwire.rest.application`.
x_request_id: ContextVar[str] = ContextVar("x_request_id", default="")
_log = logging.getLogger(__name__)


class JsonFormatter(logging.Formatter):
    """Writes time, level, service, logger, message, every field given as ``extra``, and the span and request around."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service
        # `json.dumps` with a default would make one for each line.
        self._encode = json.JSONEncoder(default=str).encode

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON for the record."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self._service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: _plain(value) for name, value in vars(record).items() if name not in _STANDARD}
        entry |= tracing.ids()
        if named := x_request_id.get():
            entry["x_request_id"] = named
        if who := caller().name:
            entry.setdefault("caller", who)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._encode(entry)


def _plain(value: object) -> object:
    # JSON has no NaN and no infinity.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def configure(service: str, level: str = "INFO") -> None:
    """Send all logs of this process to standard error as JSON.

    What else is written there, by Python or by C++, becomes lines of the log, with the logger "stderr". Only a process
    that dies of a signal writes plain text: Python's stack. Where ``sys.stderr`` is no longer what the process started
    with, that is left to whoever replaced it.
    """
    # What no line says need not be found out for each (Python's logging HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    is_own = sys.stderr is not None and sys.stderr is sys.__stderr__
    handler = logging.StreamHandler(_take_stderr() if is_own else sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)


def _take_stderr() -> TextIO:
    """Put a pipe into the log in the place of standard error.

    Returns:
        a stream to where standard error led.
    """
    # Progress is for those who watch. Hugging Face's libraries look when they are loaded.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.captureWarnings(True)
    sys.excepthook = _tell
    # Its report of a log that cannot be written would go to the log.
    logging.raiseExceptions = False
    number = sys.stderr.fileno()
    stream = os.fdopen(os.dup(number), "w", errors="backslashreplace")
    faulthandler.enable(stream)
    reader, writer = os.pipe()
    # C code may write more than a pipe holds while it holds the interpreter's lock, and nobody could read it: what
    # does not fit is lost, and the process lives.
    os.set_blocking(writer, False)
    os.dup2(writer, number)
    os.close(writer)
    thread = threading.Thread(target=_relay, args=(reader,), name="stderr", daemon=True)
    thread.start()

    def restore() -> None:
        sys.stderr.flush()
        # The pipe's last writer goes with it, so that its reader comes to an end.
        os.dup2(stream.fileno(), number)
        thread.join(_LAST_S)

    atexit.register(restore)
    return stream


def _relay(reader: int) -> None:
    log = logging.getLogger("stderr")
    with os.fdopen(reader, errors="backslashreplace") as lines:
        for line in lines:
            if said := line.rstrip():
                log.warning("%s", said)


def _tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _log.critical("unexpected error", exc_info=(kind, error, trace))
