"""``thinwire reproduce``: which experiments are run, what is not run again, and what is told of earlier results."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.harness import pages
from experiments.harness.experiment import Experiment
from experiments.harness.options import as_arguments
from experiments.harness.report import table_from_json
from experiments.registry import MODULES, load
from offline.bundles.folders import check_writable
from policies.files import write_whole
from thinwire.errors import InvalidRequestError, UnavailableError


def list_all(options: argparse.Namespace) -> None:
    """Print what there is, or of the experiments that are named, with options and with what is missing here."""
    for name in options.names or MODULES:
        try:
            one = load(name)
        except UnavailableError as error:
            print(f"{name:12}({error})")
            continue
        arguments = ["--bundle", options.bundle] if options.bundle and "bundle" in one.options else []
        lacking = f" (needs {', '.join(missing)})" if (missing := one.missing(options.data, arguments)) else ""
        print(f"{name:12}{one.title}{lacking}")
        for key, default in vars(one.given(options.quick)).items():
            typed = as_arguments({key: "" if default is None else default or True})
            print(f"    {typed:28} {one.options[key].help}")


def run(options: argparse.Namespace) -> None:
    """Measure, write and compare, as the command's options say; all that can be run, if none is named.

    Raises:
        InvalidRequestError: no such experiment; a folder cannot be written; figures differ from earlier ones; the
            output has what is not to be replaced.
        UnavailableError: what is named cannot be run here.
    """
    if options.rest and len(options.names) != 1:
        raise InvalidRequestError(f"{' '.join(options.rest)}: options of one experiment need its name alone")
    output = options.output or options.work / ("quick" if options.quick else "results")
    # What takes hours is not to be lost at its end.
    for field, folder in (("work", options.work), ("output", output), ("json", options.json and options.json.parent)):
        if folder is not None:
            check_writable(field, folder)
    if options.json and (options.json.is_dir() or not options.json.parent.is_dir()):
        raise InvalidRequestError(f"json: expected a file in a folder that is there, got {options.json}")
    found, differing = {}, 0
    for name in options.names or MODULES:
        try:
            one = load(name)
            arguments = _arguments(one, options)
            if missing := one.missing(options.data, arguments):
                raise UnavailableError(f"{name} needs {', '.join(missing)}")
        except UnavailableError as error:
            if options.names:
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        # Before anything is written: the two folders may be one.
        page = one.page(options.bundle)
        earlier = pages.read(page, options.against) if options.against else None
        found[page] = _measured(one, options, arguments, output)
        if options.names and not options.against:
            for table in found[page]["tables"]:
                print(f"{table['title']}\n\n{table_from_json(table).markdown()}\n")
        print(f"{name}: {output / page}.md")
        if options.against:
            differing += _compare(found[page], earlier, options.against)
    if options.json:
        write_whole(options.json, (json.dumps(found, indent=1) + "\n").encode())
    if differing:
        raise InvalidRequestError(f"{differing} figures differ from those in {options.against}")


def _arguments(one: Experiment, options: argparse.Namespace) -> list[str]:
    """The options of one experiment, among them the bundle, which all share.

    Raises:
        UnavailableError: it is of bundles of its own.
    """
    if options.bundle is None:
        return list(options.rest)
    if "bundle" not in one.options:
        raise UnavailableError(f"{one.name} takes no --bundle: it is of {', '.join(one.bundles) or 'none'}")
    return ["--bundle", options.bundle, *options.rest]


def _measured(one: Experiment, options: argparse.Namespace, arguments: Sequence[str], output: Path) -> dict[str, Any]:
    """What the output has of it, or what is found now and written there."""
    content = pages.read(one.page(options.bundle), output)
    if content is not None and options.quick and not content["quick"]:
        raise InvalidRequestError(f"{output} has the full {one.name}; a quick run needs another --output")
    identity = {"options": None} | one.identity(options.data, options.quick, options.seed, arguments)
    if options.again or content is None or any(content.get(key) != value for key, value in identity.items()):
        print(f"{one.name}: {one.title}", file=sys.stderr)
        report, content = one.measure(options.data, options.work, options.quick, options.seed, arguments)
        pages.write(one, report, content, output)
        pages.write_index(output)
    return content


def _compare(content: dict[str, Any], earlier: dict[str, Any] | None, folder: Path) -> int:
    """Tell in what they differ, and in how many figures."""
    if earlier is None:
        print(f"  nothing in {folder} to compare with")
        return 0
    found = pages.compare(content, earlier)
    print("\n".join(f"  {line}" for line in found.differences) or "  agrees with what is there")
    if found.estimates:
        print(f"  beyond 1.96 standard errors: {found.outside} of {found.estimates} estimates")
    return len(found.differences)
