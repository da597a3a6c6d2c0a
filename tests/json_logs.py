"""What a process would log, as its lines say it."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from thinwire.logs import JsonFormatter


@contextmanager
def json_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Gives what returns the lines of this block so far."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("test"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
