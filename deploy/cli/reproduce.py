"""``thinwire reproduce``: the experiments, each into a page; ``thinwire bench`` is its former name for some."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from deploy.cli.common import seed
from thinwire.errors import UnavailableError

# What `bench` called otherwise, or `reproduce` had another experiment by that name.
RENAMED = {"efficiency": ["edge"], "vqa": ["questions", "--every-way"], "questions": ["dialogue"]}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its alias."""
    parser = commands.add_parser(
        "reproduce",
        help="measure: the experiments, again or otherwise, held against what is documented",
        description="What was finished in the output's folder on the same data, bundles, seed and options is not run "
        "again, and what was cut off goes on where it was. An experiment that is named alone takes options of its own, "
        "which --list shows.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="of experiments (default: all that can be run here)")
    parser.add_argument("--list", action="store_true", help="what there is, with options and with what is missing here")
    data = Path(os.environ.get("THINWIRE_DATA", "data"))
    parser.add_argument(
        "--data",
        type=Path,
        default=data,
        help="folder of the data sets, or one to measure on (default: $THINWIRE_DATA, else %(default)s)",
    )
    parser.add_argument(
        "--bundle", metavar="B", help="to measure, by name or folder, in place of the usual one; its pages are NAME-B"
    )
    parser.add_argument("--quick", action="store_true", help="minutes in place of hours, to see that all works")
    parser.add_argument("--seed", type=seed, default=0, help="of noise, samples and training")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="of the pages (default: results in --work)")
    parser.add_argument(
        "--again", action="store_true", help="write what the output has, too; what --work has kept is not measured anew"
    )
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="of earlier results to compare with")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found there, too, by name")
    parser.set_defaults(run=_run, rest=[])
    alias = commands.add_parser("bench", help="the same, always measured anew", add_help=False)
    alias.add_argument("words", nargs=argparse.REMAINDER)
    alias.set_defaults(run=_run_alias)


def _run(options: argparse.Namespace) -> None:
    # Experiments stand above this package, in a checkout.
    if importlib.util.find_spec("experiments") is None:
        raise UnavailableError("experiments are in the project's checkout (pip install -e .), not in what is installed")
    from experiments.harness import command

    (command.list_all if options.list else command.run)(options)


def _run_alias(options: argparse.Namespace) -> None:
    from deploy.cli.main import parser

    name, *rest = options.words or ["--list"]
    words = ["reproduce", *RENAMED.get(name, [name]), *rest, "--again"]
    print(f"thinwire bench is now: thinwire {' '.join(words)}", file=sys.stderr)
    asked, rest = parser().parse_known_args(words)
    asked.rest = rest
    _run(asked)
