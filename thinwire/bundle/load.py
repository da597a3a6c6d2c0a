"""Finding, reading and checking bundles."""

import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from thinwire.bundle.manifest import MANIFEST, SCHEMA_VERSION, Bundle, shipped
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.images import Preprocessing
from thinwire.records import read, read_file


def load_bundle(name_or_folder: str | Path) -> Bundle:
    """Load and verify a bundle.

    Args:
        name_or_folder: the name of a shipped bundle, or a folder. Of a bundle whose weights others publish, which are
            not shipped, the user's own copy is loaded (``thinwire bundle complete``).

    Raises:
        BundleError: there is none, its schema is another, or a file is missing or altered; or it is shipped without
            its weights, and there is no copy with them or one of another version.

    Example:
        >>> import thinwire
        >>> bundle = thinwire.load_bundle("cifar10")
        >>> bundle.task, bundle.patches, bundle.reference.channel_uses
        ('classify', 64, 192)
    """
    bundle = read_bundle(name_or_folder)
    if bundle.folder.parent == shipped() and (lacking := bundle.lacking()):
        bundle = _completed(bundle, lacking)
    bundle.verify()
    return bundle


def read_bundle(name_or_folder: str | Path) -> Bundle:
    """A bundle whose files nobody has looked at; see `load_bundle`.

    Raises:
        BundleError: there is none, or its schema is another.
    """
    folder = Path(name_or_folder)
    try:
        # Raises for a name that is too long.
        if not folder.is_dir():
            folder = shipped() / str(name_or_folder)
        content = read_file(folder / MANIFEST)
    except (OSError, ValueError) as error:
        known = ", ".join(sorted(path.parent.name for path in shipped().glob(f"*/{MANIFEST}")))
        raise BundleError(f"no readable bundle {name_or_folder}: {error} (shipped: {known})") from None
    if not isinstance(content, dict):
        raise BundleError(f"bundle {folder.name}: its manifest is no JSON object")
    version = content.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise BundleError(f"bundle {folder.name} has schema {version}; this version reads {SCHEMA_VERSION}")
    try:
        bundle = replace(read(Bundle, content), folder=folder)
        _check_whole(bundle)
    except (InvalidRequestError, BundleError) as error:
        raise BundleError(f"bundle {folder.name}: its manifest is incomplete or wrong: {error}") from None
    return bundle


def completed_folder(name: str) -> Path:
    """Where a user's own copy of a shipped bundle is, or would be.

    Raises:
        BundleError: the user has no home.
    """
    given = os.environ.get("XDG_DATA_HOME", "")
    try:
        # By its specification, a relative one counts as none.
        base = Path(given) if Path(given).is_absolute() else Path.home() / ".local" / "share"
    except RuntimeError as error:
        raise BundleError(f"bundle {name}: no place for its weights, set XDG_DATA_HOME: {error}") from None
    return base / "thinwire" / "bundles" / name


def _completed(bundle: Bundle, lacking: list[str]) -> Bundle:
    """The user's own copy of a shipped bundle that lacks files."""
    name = bundle.folder.name
    folder, how = completed_folder(name), f"thinwire bundle complete {name} --weights SOURCE"
    if not (folder / MANIFEST).is_file():
        raise BundleError(
            f"bundle {name} is shipped without its weights ({', '.join(lacking)}), which others publish: {how}"
        )
    copy = read_bundle(folder)
    if copy != bundle:
        raise BundleError(f"bundle {name}: the copy in {folder} is one of another version, make it anew: {how}")
    return copy


def _check_whole(bundle: Bundle) -> None:
    """Check what no field can say alone; whether values fit the weights shows when these are loaded."""
    # A language or speech model reads what leaves the tower, and nothing earlier.
    least = 0 if bundle.task == "classify" else bundle.depth
    if not least <= bundle.split_layer <= bundle.depth:
        raise BundleError(f"split_layer must be from {least} to {bundle.depth}, got {bundle.split_layer}")
    _check_answers(bundle)
    rate = bundle.reference.symbols_per_token if bundle.reference else 0
    if rate > bundle.codec.max_symbols_per_token:
        raise BundleError(
            f"reference.symbols_per_token must be at most {bundle.codec.max_symbols_per_token}, got {rate}"
        )
    # It would be checked against one of them only.
    if twice := sorted(bundle.exports.keys() & bundle.files.keys()):
        raise BundleError(f"files and exports must not both hold {twice[0]}")


def _check_answers(bundle: Bundle) -> None:
    has = {"labels": bool(bundle.labels), "language": bundle.language is not None, "speech": bundle.speech is not None}
    needed = {"classify": "labels", "vqa": "language", "transcription": "speech"}[bundle.task]
    if [name for name, there in has.items() if there] != [needed]:
        others = " and no ".join(name for name in has if name != needed)
        raise BundleError(f"a bundle of the task {bundle.task!r} has {needed} and no {others}")
    # None by default, for which no type checks.
    sees, is_seen_to = bundle.task != "transcription", isinstance(bundle.preprocessing, Preprocessing)
    if sees != is_seen_to:
        raise BundleError("preprocessing is missing" if sees else "preprocessing is of images, and this bundle hears")


def check_served(bundles: Sequence[Bundle]) -> None:
    """Check that bundles can be served side by side: requests find them by their names.

    Raises:
        InvalidRequestError: there is none, or two have one name.
    """
    if not bundles:
        raise InvalidRequestError("expected at least one bundle to serve, got none")
    for one, other in combinations(bundles, 2):
        # A digest covers the name: frames, which find them by their digests, differ where the names do.
        if one.name == other.name:
            raise InvalidRequestError(
                f"bundles that are served together must have different names, got {one.name!r} in {one.folder} and "
                f"in {other.folder}"
            )
