"""``thinwire bench``: the tables of docs/performance.md, each by one command."""

import argparse
import importlib
import sys
from pathlib import Path

# Of the package `benchmarks`.
TABLES = {
    "edge": "latency of one image on the device: plain models, ToMe and ours, in torch and ONNX Runtime",
    "efficiency": "of edge: whether the clock agrees with the MAC count, beside an oracle that does no matching",
    "cloud": "frames per second of the cloud against its bare model and a bare echo",
    "stream": "images per second in one stream against one after the other: what overlap gains",
    "overhead": "what the service costs per frame against a bare echo",
    "answer": "time to answer over the link's rate, against a picture to the cloud and against the device alone",
    "footprint": "memory, time to the first answer, sizes of the images",
    "vqa": "questions: accuracy, uses and compute",
    "questions": "many questions about one image: transmissions, prefills, times",
}
# One run gives both.
SAME = {"efficiency": "edge"}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        help="measure; from a checkout of the project",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:12}{what}" for name, what in TABLES.items()),
    )
    parser.add_argument("table", choices=list(TABLES), metavar="TABLE", help=f"one of {', '.join(TABLES)}")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="its own options; --help lists them")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from thinwire.errors import UnavailableError

    # By name, and from the checkout: benchmarks stand above this package and are not installed with it.
    sys.path.append(str(Path(__file__).parents[2]))
    try:
        module = importlib.import_module(f"benchmarks.{SAME.get(options.table, options.table)}")
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("benchmarks"):
            raise UnavailableError(f"thinwire bench {options.table} needs the package {error.name}") from None
        raise UnavailableError("benchmarks are part of the project's checkout and not of what is installed") from None
    module.main(options.rest)
