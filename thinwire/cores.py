"""How many processor cores there are for a process, and how a server shares them out."""

import math
import os
from pathlib import Path

# Of cgroups, version 2: "QUOTA PERIOD" in microseconds, or "max PERIOD".
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, and by the quota of its container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        cores = min(cores, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        # No such file, or no quota in it.
        pass
    return max(1, cores)


def model_threads() -> int:
    """Threads for the model of a process that serves: all cores but one, which is left to the event loop.

    With a thread on each core, the model's threads wait for the one that the event loop holds up, and the event loop
    for them.
    """
    return max(1, usable_cores() - 1)
