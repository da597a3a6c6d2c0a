"""A shipped bundle with the weights that others publish: a copy of it in the user's own folder."""

import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

from offline.bundles.whisper_source import WHOLE, read_source, write_whisper
from thinwire.bundle import BACKBONE, FRONT, MANIFEST, NOTICE, Bundle, completed_folder, read_bundle, shipped
from thinwire.errors import BundleError, InvalidRequestError

GENERATED = (BACKBONE, WHOLE)


def complete(name: str, source: str, revision: str | None = None, output: Path | None = None) -> Bundle:
    """Make a whole copy of a shipped bundle, or leave the one that is there and whole.

    Args:
        name: of the bundle.
        source: of its weights; see `offline.bundles.whisper_source.read_source`.
        revision: of the weights on the hub.
        output: folder of the copy, where no other bundle may be; by default where `load_bundle` finds it.

    Raises:
        BundleError: there is no such bundle, it lacks nothing that can be made, or the weights are not those that it
            was made with.
        InvalidRequestError: the folder holds something else, or cannot be written. Nothing has changed then.
    """
    if Path(name).name != name or not (shipped() / name / MANIFEST).is_file():
        raise BundleError(f"no bundle {name} is shipped")
    bundle = read_bundle(shipped() / name)
    lacking = bundle.lacking()
    if others := sorted(set(lacking) - set(GENERATED)):
        raise BundleError(f"bundle {name}: {others[0]} is missing, and can be made of no weights")
    if not lacking:
        raise BundleError(f"bundle {name} lacks nothing")
    folder = completed_folder(name) if output is None else output.absolute()
    if _is_whole(bundle, folder):
        return replace(bundle, folder=folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(mkdtemp(prefix=f".{name}.", dir=folder.parent))
        try:
            (stage / "new").mkdir()
            _write(bundle, source, revision, stage / "new")
            _put(stage / "new", folder, stage / "old")
        finally:
            shutil.rmtree(stage, ignore_errors=True)
    except OSError as error:
        raise InvalidRequestError(f"output: expected a folder that can be written, got {folder}: {error}") from None
    return replace(bundle, folder=folder)


def _is_whole(bundle: Bundle, folder: Path) -> bool:
    """Whether the copy is there and whole; what is there may be an older or a damaged one, and nothing else."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InvalidRequestError(f"output: expected a folder, got {folder}, which is a link or a file")
    if not folder.is_dir() or not any(folder.iterdir()):
        return False
    try:
        found = read_bundle(folder)
    except BundleError:
        found = None
    if found is None or found.name != bundle.name:
        raise InvalidRequestError(f"output: expected a new folder or an earlier copy of {bundle.name}, got {folder}")
    try:
        found.verify()
    except BundleError:
        return False
    return found == bundle


def _write(bundle: Bundle, source: str, revision: str | None, folder: Path) -> None:
    """The whole copy, checked."""
    names = {name for name in (bundle.files | bundle.exports) if bundle.path(name).is_file()}
    for name in (*sorted(names), MANIFEST, FRONT, NOTICE):
        path = bundle.path(name)
        if path.is_symlink():
            raise BundleError(f"bundle {bundle.name}: {name} is a link")
        if path.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / name)
    model, _ = read_source(source, revision)
    for name, digest in write_whisper(model, folder).items():
        if bundle.files[name] != digest:
            raise BundleError(
                f"weights: expected those that {bundle.name} was made with, got others in {source}: "
                f"{name} would have the SHA-256 {digest[:16]}, not {bundle.files[name][:16]}"
            )
    replace(bundle, folder=folder).verify()


def _put(new: Path, folder: Path, old: Path) -> None:
    """Put a folder in the place of another, which comes back if that fails."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
