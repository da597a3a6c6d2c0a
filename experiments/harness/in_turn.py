"""What the benchmarks of speed share: repetitions in turn, medians with intervals, and where figures come from."""

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from thinwire.cores import usable_cores

PACKAGES = ("thinwire", "torch", "onnxruntime", "grpcio", "protobuf", "numpy")


def add_options(parser: argparse.ArgumentParser, repetitions: int, seconds: float) -> None:
    """``--repetitions``, ``--seconds`` and ``--json``."""
    parser.add_argument(
        "--repetitions", type=int, default=repetitions, help="of everything, in turn (default: %(default)s)"
    )
    parser.add_argument(
        "--seconds", type=float, default=seconds, help="that each part takes each time (default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write figures and provenance there")


def provenance() -> dict[str, Any]:
    """Versions and cores: what figures depend on besides the code."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "source"
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": usable_cores(),
        "versions": found,
    }


def in_turn(parts: Mapping[str, Callable[[], Any]], repetitions: int) -> dict[str, list[Any]]:
    """Run all parts one after the other, again and again, so that whatever slows the machine slows all of them.

    Returns:
        what each gave, by its name; one round before the first is not counted.
    """
    found: dict[str, list[Any]] = {name: [] for name in parts}
    for round_ in range(repetitions + 1):
        for name, part in parts.items():
            result = part()
            if round_:
                found[name].append(result)
        print(f"round {round_} of {repetitions}", file=sys.stderr)
    return found


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median and its 95% interval by order statistics, which supposes no distribution; of under 6 values their range.

    Source: Conover (1999), Practical Nonparametric Statistics, section 3.2.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    below = np.cumsum([math.comb(count, k) for k in range(count)]) / 2.0**count
    rank = int(np.searchsorted(below, 0.025, side="right"))
    return {
        "median": float(np.median(ordered)),
        "low": float(ordered[max(0, rank - 1)]),
        "high": float(ordered[min(count - 1, count - max(1, rank))]),
    }


def text(found: Mapping[str, float], digits: int = 2) -> str:
    """A summary in a few characters."""
    return f"{found['median']:.{digits}f} ({found['low']:.{digits}f} to {found['high']:.{digits}f})"


def write(path: Path | None, content: Mapping[str, Any]) -> None:
    """Write figures with their provenance, if a file was named."""
    if path is not None:
        path.write_text(json.dumps({"provenance": provenance(), **content}, indent=2) + "\n")
