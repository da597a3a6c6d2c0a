"""Writing a bundle from trained parts."""

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from thinwire.bundle import Bundle, file_sha256

# Where a bundle's own language model lies in it.
INSIDE = "llava"


def write_bundle(bundle: Bundle, parts: Mapping[str, nn.Module], checkpoint: Path | None = None) -> Bundle:
    """Write weights and manifest into a bundle's folder.

    Args:
        bundle: says all but its files.
        parts: the modules "backbone", "encoder" and "decoder".
        checkpoint: folder of the language model's checkpoint, to be copied into the bundle as `INSIDE`.

    Returns:
        the bundle with its files.
    """
    folder = bundle.folder
    folder.mkdir(parents=True, exist_ok=True)
    files = write_weights(parts, folder)
    if checkpoint is not None:
        shutil.rmtree(folder / INSIDE, ignore_errors=True)
        shutil.copytree(checkpoint, folder / INSIDE)
        copied = sorted(path for path in (folder / INSIDE).rglob("*") if path.is_file())
        files |= {path.relative_to(folder).as_posix(): file_sha256(path) for path in copied}
    bundle = replace(bundle, files=files)
    bundle.save()
    return bundle


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
