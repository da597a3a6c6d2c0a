"""Whether a build may write where it was told to, before it computes anything."""

import json
import shutil
import tempfile
from pathlib import Path

from thinwire.bundle import MANIFEST, NOTICE
from thinwire.errors import InvalidRequestError

# Weights and two moments of each, in the checkpoint and in the one that takes its place.
BYTES_PER_TRAINED_WEIGHT = 2 * 3 * 4


def check_folders(name: str, work: Path, output: Path) -> None:
    """Check that both folders can be written and that nobody else's files are in the way; makes none.

    Args:
        name: of the bundle.

    Raises:
        InvalidRequestError: the two are one, one cannot be written, or ``output`` holds another bundle or other files.
    """
    if work.resolve() == output.resolve():
        raise InvalidRequestError(f"work and output are one folder, {output}: the bundle would overwrite its model")
    check_writable("work", work)
    check_output(name, output)


def check_output(name: str, output: Path) -> None:
    """Check that a bundle's folder can be written and that nobody else's files are in the way; makes none.

    Args:
        name: of the bundle.

    Raises:
        InvalidRequestError: it cannot be written, or holds another bundle or other files.
    """
    check_writable("output", output)
    if not output.exists():
        return
    if (output / MANIFEST).exists():
        try:
            held = json.loads((output / MANIFEST).read_text())["name"]
        except (OSError, ValueError, KeyError, TypeError):
            held = "one that cannot be read"
        if held != name:
            raise InvalidRequestError(
                f"output: expected a folder for the bundle {name}, got {output} with bundle {held}"
            )
        return
    # A build that was stopped between weights and manifest goes on.
    ours = {f"{part}.safetensors" for part in ("backbone", "encoder", "decoder")} | {NOTICE}
    if (output / "decoder.safetensors").exists():
        ours |= {"llava", "whisper"}
    if others := sorted(path.name for path in output.iterdir() if path.name not in ours):
        raise InvalidRequestError(
            f"output: expected an empty folder or the bundle's own, got {output} with {others[0]}"
        )


def check_space(folder: Path, needed: int) -> None:
    """Check that so many bytes are free where a folder is or will be.

    Raises:
        InvalidRequestError: they are not.
    """
    free = shutil.disk_usage(_existing(folder)).free
    if free < needed:
        raise InvalidRequestError(
            f"{folder}: expected {needed / 2**20:.0f} MiB free for what is kept there, got {free / 2**20:.0f}"
        )


def check_writable(field: str, folder: Path) -> None:
    """Check that files can be written into a folder, or into where it will be; makes none.

    Args:
        field: what the user calls it.

    Raises:
        InvalidRequestError: they cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            pass
    except OSError as error:
        raise InvalidRequestError(f"{field}: expected a folder that can be written, got {folder}: {error}") from None


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
