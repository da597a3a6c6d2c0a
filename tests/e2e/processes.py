"""What a run of hostile requests must leave behind: living processes of their old size, and quiet logs."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.testbed import LocalTestbed

# What a few hundred requests may add to a process: pools, caches and thread stacks fill up once. A leak of one image
# or frame per request is more.
MOST_GROWTH_BYTES = 96 * 2**20
# gRPC itself logs a message that it cannot parse.
NOT_OURS = ("grpc",)


def resident_bytes(testbed: LocalTestbed) -> dict[str, int]:
    """Resident memory of each process; empty where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return {}
    sizes = {}
    for name, process in testbed._processes.items():
        status = Path(f"/proc/{process.pid}/status").read_text()
        sizes[name] = 1024 * int(status.partition("VmRSS:")[2].split()[0])
    return sizes


@contextlib.contextmanager
def unharmed(testbed: LocalTestbed) -> Iterator[None]:
    """Check that what happens inside kills no process, fills no memory and meets no unexpected error."""
    before, read = resident_bytes(testbed), {path: path.stat().st_size for path in logs(testbed)}
    yield
    testbed.check()
    growth = {name: size - before[name] for name, size in resident_bytes(testbed).items()}
    assert max(growth.values(), default=0) < MOST_GROWTH_BYTES, growth
    for path in logs(testbed):
        for line in path.read_bytes()[read.get(path, 0) :].splitlines():
            entry = json.loads(line)
            assert "Traceback" not in entry["message"]
            assert "exception" not in entry or entry["logger"].startswith(NOT_OURS), entry


def logs(testbed: LocalTestbed) -> list[Path]:
    """The log files of the processes."""
    assert testbed._log_folder is not None
    return sorted(testbed._log_folder.glob("*.log"))
