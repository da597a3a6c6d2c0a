"""Logs as one JSON object a line on standard error."""

import json
import logging
import math
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

from thinwire import tracing

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
# What the caller of the request under way calls it; see `thinwire.rest.request_ids`.
x_request_id: ContextVar[str] = ContextVar("x_request_id", default="")


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
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return self._encode(entry)


def _plain(value: object) -> object:
    # JSON has no NaN and no infinity.
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def configure(service: str, level: str = "INFO") -> None:
    """Send all logs of this process to standard error as JSON."""
    # What no line says need not be found out for each (Python's logging HOWTO, "Optimization").
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level, handlers=[handler], force=True)
