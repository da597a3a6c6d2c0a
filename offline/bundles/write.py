"""Writing a bundle from trained parts."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from thinwire.bundle import BACKBONE, Bundle, file_sha256
from thinwire.errors import BundleError

# Where a bundle's own language model lies in it.
INSIDE = "llava"


def write_bundle(bundle: Bundle, parts: Mapping[str, nn.Module], checkpoint: Path | None = None) -> Bundle:
    """Write weights and manifest into a bundle's folder.

    Args:
        bundle: says all but its files; one of `lent` keeps the backbone that it has.
        parts: the modules "backbone", "encoder" and "decoder".
        checkpoint: folder of the language model's checkpoint, to be copied into the bundle as `INSIDE`.

    Returns:
        the bundle with its files.
    """
    folder = bundle.folder
    folder.mkdir(parents=True, exist_ok=True)
    borrowed = {BACKBONE: bundle.files[BACKBONE]} if bundle.backbone is not None else {}
    files = borrowed | write_weights(
        {name: part for name, part in parts.items() if f"{name}.safetensors" not in borrowed}, folder
    )
    if checkpoint is not None:
        shutil.rmtree(folder / INSIDE, ignore_errors=True)
        shutil.copytree(checkpoint, folder / INSIDE)
        copied = sorted(path for path in (folder / INSIDE).rglob("*") if path.is_file())
        files |= {path.relative_to(folder).as_posix(): file_sha256(path) for path in copied}
    bundle = replace(bundle, files=files)
    bundle.save()
    for name in borrowed:
        # An earlier build's.
        (folder / name).unlink(missing_ok=True)
    return bundle


def lent(bundle: Bundle, lender: Bundle) -> Bundle:
    """The bundle with the backbone of another, where that is shipped or lies beside it; else as it is.

    Args:
        bundle: without files.
        lender: whose backbone it has, byte for byte.
    """
    name = lender.backbone or lender.folder.resolve().name
    try:
        borrowing = replace(bundle, backbone=name, files={BACKBONE: lender.files[BACKBONE]})
        borrowing.verify()
    # Another folder of that name is nearer, or this one is no name, or lies elsewhere.
    except BundleError:
        return bundle
    return borrowing


def write_weights(parts: Mapping[str, nn.Module], folder: Path) -> dict[str, str]:
    """Write each part's weights as ``NAME.safetensors``, in float16: that halves the files and costs no accuracy.

    Returns:
        the SHA-256 of each file, by its name.
    """
    files = {}
    for name, part in parts.items():
        path = folder / f"{name}.safetensors"
        save_file({key: _compact(value) for key, value in part.state_dict().items()}, path)
        # safetensors makes files that only their owner reads; a service runs as somebody else.
        path.chmod(0o644)
        files[path.name] = file_sha256(path)
    return files


def _compact(value: torch.Tensor) -> torch.Tensor:
    # Counters of batch normalisation are integers and stay so.
    return (value.half() if value.is_floating_point() else value).contiguous()
