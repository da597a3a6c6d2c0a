"""What an experiment can be asked to do otherwise: options of its own, beside those that all have."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deploy.cli.common import DEFAULT_BUNDLE, positive, positive_int


@dataclass(frozen=True)
class Option:
    """One of them.

    Attributes:
        default: what it is where nothing is said; a list takes several, False is turned on by its name alone.
        help: for the user.
        quick: what it is in quick runs where nothing is said; None: as in others.
        kind: reads one value from a text.
        choices: of the values.
    """

    default: Any
    help: str
    quick: Any = None
    kind: Callable[[str], Any] = str
    choices: Sequence[str] | None = None


Options = dict[str, Option]
BUNDLE: Options = {"bundle": Option(DEFAULT_BUNDLE, "name of a shipped bundle, or its folder")}
LIMIT: Options = {"limit": Option(None, "an even sample of so many images (default: all)", kind=positive_int)}


def repeated(repetitions: int, seconds: float | None = None) -> Options:
    """How often everything is repeated, in turn, and if ``seconds`` says so how long each part takes each time."""
    often = {"repetitions": Option(repetitions, "of everything, in turn", 1, positive_int)}
    if seconds is None:
        return often
    return often | {"seconds": Option(seconds, "that each part takes each time", min(0.2, seconds), positive)}


def parse(name: str, options: Options, quick: bool, arguments: Sequence[str]) -> argparse.Namespace:
    """What the arguments and the defaults make of an experiment's options; argparse tells what is wrong."""
    parser = argparse.ArgumentParser(f"thinwire reproduce {name}", add_help=False, allow_abbrev=False)
    for key, one in options.items():
        flag, default = f"--{key.replace('_', '-')}", one.quick if quick and one.quick is not None else one.default
        if default is False:
            parser.add_argument(flag, action="store_true")
        else:
            several = "+" if isinstance(default, list) else None
            parser.add_argument(flag, nargs=several, default=default, type=one.kind, choices=one.choices)
    return parser.parse_args(arguments)


def as_arguments(values: Mapping[str, Any]) -> str:
    """Options as they are typed, each after a space."""
    words = []
    for key, value in values.items():
        words.append(f"--{key.replace('_', '-')}")
        words += [] if value is True else map(str, value if isinstance(value, list) else [value])
    return "".join(f" {word}" for word in words)
