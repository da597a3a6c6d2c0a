"""Processes that tests start, hurt and stop one by one, and what they say over REST and in their logs."""

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx

from deploy.testbed import LocalTestbed
from tests.parts import random_pixels
from thinwire.images import to_png

PICTURE = to_png(random_pixels(1)[0])
PNG = {"content-type": "image/png"}
# What may take a moment on a loaded machine.
PATIENCE_S = 180.0


def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens before long."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def classify(url: str, request_id: str | None = None, **parameters: Any) -> httpx.Response:
    """Ask for the label of the test's picture."""
    headers = PNG | ({"idempotency-key": request_id} if request_id else {})
    query = {"parameters": json.dumps(parameters)}
    return httpx.post(f"{url}/v1/classify", content=PICTURE, params=query, headers=headers, timeout=PATIENCE_S)


def health(url: str, kind: str) -> int:
    """Status of ``/health/live`` or ``/health/ready``; 0 where nobody listens."""
    try:
        return httpx.get(f"{url}/health/{kind}", timeout=PATIENCE_S).status_code
    except httpx.TransportError:
        return 0


def is_problem(response: httpx.Response, status: int, code: str) -> bool:
    """Whether a response is problem+json of this status and code."""
    assert response.headers["content-type"] == "application/problem+json"
    return (response.status_code, response.json()["status"], response.json()["error"]) == (status, status, code)


def send(testbed: LocalTestbed, name: str, number: signal.Signals) -> None:
    """Send a signal to a process."""
    os.kill(testbed._processes[name].pid, number)


def kill(testbed: LocalTestbed, name: str) -> None:
    """SIGKILL, and wait until the process is gone."""
    testbed._processes[name].kill()
    testbed._processes[name].wait()


def frames_of(testbed: LocalTestbed, name: str) -> list[dict[str, Any]]:
    """The lines that frames left in a process's log so far."""
    assert testbed._log_folder is not None
    lines = (testbed._log_folder / f"{name}.log").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["message"] == "frame"]
