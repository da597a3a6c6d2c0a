"""``thinwire reproduce``: the experiments, each into a page, resumed where they were cut off."""

import argparse
import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.cli.common import seed

if TYPE_CHECKING:
    from experiments.harness.experiment import Experiment

# In the order in which they run and are listed; each module has an EXPERIMENT.
MODULES = {
    "profile": "experiments.profile",
    "tradeoff": "experiments.tradeoff",
    "search": "experiments.strategies",
    "snr": "experiments.snr",
    "split": "experiments.split",
    "robustness": "experiments.robustness",
    "codecs": "experiments.codecs",
    "questions": "experiments.visual_questions",
    "video": "experiments.video",
    "privacy": "experiments.privacy.page",
    "digital": "experiments.digital.page",
}


def add_to(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reproduce",
        help="run the experiments again and compare with what is documented",
        description="What was finished in the output's folder on the same data, bundles and seed is not run again, and "
        "what was cut off goes on where it was.",
    )
    parser.add_argument("experiments", nargs="*", metavar="EXPERIMENT", help=f"of {', '.join(MODULES)} (default: all)")
    data = Path(os.environ.get("THINWIRE_DATA", "data"))
    parser.add_argument(
        "--data", type=Path, default=data, help="folder of the data sets (default: $THINWIRE_DATA, else %(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="minutes in place of hours, to see that all works")
    parser.add_argument("--seed", type=seed, default=0, help="of noise, samples and training")
    parser.add_argument("--work", type=Path, default=Path("runs/reproduce"), help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, help="of the pages (default: results in --work)")
    parser.add_argument(
        "--again", action="store_true", help="write what the output has, too; what --work has kept is not measured anew"
    )
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="of earlier results to compare with")
    parser.set_defaults(run=_run)


def load(name: str) -> "Experiment":
    """An experiment by its name.

    Raises:
        InvalidRequestError: there is none of that name.
    """
    from thinwire.errors import InvalidRequestError

    if name not in MODULES:
        raise InvalidRequestError(f"no experiment {name!r}; there are {', '.join(MODULES)}")
    experiment: Experiment = importlib.import_module(MODULES[name]).EXPERIMENT
    return experiment


def _run(options: argparse.Namespace) -> None:
    from experiments.harness import pages
    from thinwire.errors import InvalidRequestError, UnavailableError

    output = options.output or options.work / ("quick" if options.quick else "results")
    experiments = [load(name) for name in MODULES]
    wanted = [load(name) for name in options.experiments] or experiments
    differing = []
    for one in wanted:
        if missing := one.missing(options.data):
            if options.experiments:
                raise UnavailableError(f"{one.name} needs {', '.join(missing)}")
            print(f"{one.name}: left out, needs {', '.join(missing)}", file=sys.stderr)
            continue
        # Before anything is written: the two folders may be one.
        earlier = pages.read(one.name, options.against) if options.against else None
        content = pages.read(one.name, output)
        if content is not None and options.quick and not content["quick"]:
            raise InvalidRequestError(f"{output} has the full {one.name}; a quick run needs another --output")
        identity = one.identity(options.data, options.quick, options.seed)
        if options.again or content is None or any(content.get(key) != value for key, value in identity.items()):
            print(f"{one.name}: {one.title}", file=sys.stderr)
            report, content = one.measure(options.data, options.work, options.quick, options.seed)
            pages.write(one, report, content, output)
            pages.write_index(experiments, output)
        print(f"{one.name}: {output / one.name}.md")
        if options.against and earlier is None:
            print(f"  nothing in {options.against} to compare with")
        if earlier is not None:
            found = pages.compare(content, earlier)
            print("\n".join(f"  {line}" for line in found.differences) or "  agrees with what is there")
            if found.estimates:
                print(f"  beyond 1.96 standard errors: {found.outside} of {found.estimates} estimates")
            differing += found.differences
    if differing:
        raise InvalidRequestError(f"{len(differing)} figures differ from those in {options.against}")
