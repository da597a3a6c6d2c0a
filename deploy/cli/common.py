"""Arguments and output that several commands share."""

import argparse
import json
import math
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offline.measure.judges import Samples
    from thinwire.bundle import Bundle
    from thinwire.nn.placement import Placement

DEFAULT_BUNDLE = "cifar10"
DEFAULT_BUNDLES = (DEFAULT_BUNDLE, "photos", "easy-vqa")
# What the cloud answers with the extra vqa alone.
ASKED = "easy-vqa"
# What is served beside them where the extra speech is installed, and its weights were made.
SPOKEN = "whisper-tiny-en"


def bundles_for_cloud() -> list[str]:
    """Those of `DEFAULT_BUNDLES` that a cloud can answer for with what is installed, and `SPOKEN` if that is there."""
    names = [name for name in DEFAULT_BUNDLES if name != ASKED or find_spec("transformers")]
    return [*names, SPOKEN] if find_spec("transformers") and find_spec("av") and _is_complete(SPOKEN) else names


def _is_complete(name: str) -> bool:
    from thinwire.bundle import MANIFEST, completed_folder

    return (completed_folder(name) / MANIFEST).is_file()


def add_bundle(parser: argparse.ArgumentParser) -> None:
    """``--bundle``."""
    parser.add_argument(
        "--bundle", default=DEFAULT_BUNDLE, help="name of a shipped bundle, or its folder (default: %(default)s)"
    )


def add_bundles(parser: argparse.ArgumentParser, with_cloud: bool = True) -> None:
    """``--bundle``, for processes that serve several."""
    default = bundles_for_cloud() if with_cloud else list(DEFAULT_BUNDLES)
    needs = "; questions need the extra vqa, speech the extra speech and weights" if with_cloud else ""
    parser.add_argument(
        "--bundle",
        nargs="+",
        default=default,
        help=f"names or folders; a task's first answers where no model is named (default: {' '.join(default)}{needs})",
    )


def add_placement(parser: argparse._ActionsContainer) -> None:
    """``--dtype``, ``--device`` and ``--bits``."""
    parser.add_argument(
        "--dtype",
        default="auto",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="of the language model's weights (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--device", default="cpu", metavar="DEVICE", help="cpu, cuda, cuda:1, or auto over all of them (default: cpu)"
    )
    parser.add_argument("--bits", type=int, choices=(4, 8), help="quantise the language model's weights")


def placement_of(options: argparse.Namespace) -> "Placement":
    """What `add_placement` asked for."""
    from thinwire.nn.placement import Placement

    return Placement(options.dtype, options.device, options.bits)


def load_bundles(names: Sequence[str]) -> "list[Bundle]":
    """The bundles that one process serves, told what is wrong with them before torch is loaded."""
    from thinwire.bundle import check_served, load_bundle

    bundles = [load_bundle(name) for name in names]
    check_served(bundles)
    return bundles


def load_to_measure(bundle: "Bundle", options: argparse.Namespace, most: int | None) -> "tuple[Samples, Placement]":
    """What ``--data`` and ``--split`` have, at most so many, and what `add_placement` asked for, checked first."""
    from offline.data.sources import load_samples

    placement = placement_of(options)
    placement.check()
    samples = load_samples(bundle, options.data, options.split, most)
    print(f"{len(samples)} {noun_of(bundle)}", file=sys.stderr)
    return samples, placement


def noun_of(bundle: "Bundle") -> str:
    """What a bundle is measured on."""
    return "utterances" if bundle.task == "transcription" else "images"


def add_json(parser: argparse.ArgumentParser) -> None:
    """``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def print_json(content: Any) -> None:
    """Print JSON for people and programs alike."""
    print(json.dumps(content, indent=2))


def discard_output() -> None:
    """Write no more to standard output, whose reader left; Python would complain once more when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
