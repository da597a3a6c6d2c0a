"""Arguments and output that several commands share."""

import argparse
import json
import math
from typing import Any

DEFAULT_BUNDLE = "cifar10"


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """``--bundle``."""
    parser.add_argument(
        "--bundle", default=DEFAULT_BUNDLE, help="name of a shipped bundle, or its folder (default: %(default)s)"
    )


def add_bundles(parser: argparse.ArgumentParser) -> None:
    """``--bundle``, for processes that serve several."""
    parser.add_argument(
        "--bundle", nargs="+", default=[DEFAULT_BUNDLE], help="as many as there are tasks to serve (default: cifar10)"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(content: Any) -> None:
    """Print JSON for people and programs alike."""
    print(json.dumps(content, indent=2))


def positive_int(text: str) -> int:
    """An integer of at least 1, for argparse."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {value}")
    return value


def seed(text: str) -> int:
    """An integer from 0 to 2^63 - 1, for argparse."""
    value = int(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2^63 - 1, got {value}")
    return value


def finite(text: str) -> float:
    """A finite number, for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a finite number, got {value}")
    return value


def positive(text: str) -> float:
    """A finite number above 0, for argparse."""
    value = finite(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"must be above 0, got {value}")
    return value


def table(rows: list[dict[str, str]]) -> str:
    """Rows with the same keys as aligned text; numbers to the right."""
    columns = list(rows[0])
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) for name in columns}

    def cell(name: str, text: str) -> str:
        numeric = rows[0][name][:1].isdigit() or rows[0][name][:1] == "-"
        return text.rjust(widths[name]) if numeric else text.ljust(widths[name])

    lines = ["  ".join(cell(name, name) for name in columns).rstrip()]
    lines += ["  ".join(cell(name, row[name]) for name in columns).rstrip() for row in rows]
    return "\n".join(lines)
