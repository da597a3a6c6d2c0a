"""A LLaVA checkpoint as it lies on disk: where it is, and how it wants its images."""

import json
import math
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import AutoImageProcessor

from thinwire.errors import BundleError
from thinwire.images import RESAMPLING, Preprocessing

# All that is read of a repository: no code and no pickles.
WANTED = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


def fetch_checkpoint(name: str, revision: str | None = None) -> tuple[Path, str | None]:
    """The folder of a checkpoint.

    Args:
        name: a folder, or an id on the Hugging Face hub, which is downloaded unless the hub's cache has it.
        revision: branch, tag or commit on the hub.

    Returns:
        the folder, and the commit that it is of; None for a folder given.

    Raises:
        BundleError: there is none.
    """
    if Path(name).is_dir():
        return Path(name).resolve(), None
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=WANTED))
    # The library raises many things, which say what is wrong with the name or the network.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"no checkpoint {name}: neither a folder nor to be had from the hub ({reason})") from None
    # The cache names each snapshot by its commit.
    return folder, folder.name


def preprocessing_of(folder: Path) -> Preprocessing:
    """How a checkpoint's image processor prepares images, in our own terms.

    Raises:
        BundleError: it has none, or one that does more than to resize, crop and normalise.
    """
    try:
        processor: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
        content = json.loads(processor.to_json_string())
        steps = [content[f"do_{name}"] for name in ("resize", "rescale", "center_crop", "normalize")]
        if not all(steps) or not math.isclose(content["rescale_factor"], 1 / 255, rel_tol=1e-3):
            raise ValueError("expected a processor that resizes, crops, rescales by 1/255 and normalises")
        crop, size = content["crop_size"], content["size"]
        side, shortest = crop["height"], size.get("shortest_edge", 0)
        if crop["width"] != side or shortest < side:
            raise ValueError(f"expected a square crop of an image resized by its shortest edge, got {crop} of {size}")
        (interpolation,) = (name for name, value in RESAMPLING.items() if int(value) == content["resample"])
        mean, std = tuple(content["image_mean"]), tuple(content["image_std"])
        return Preprocessing(side, side / shortest, interpolation, mean, std)
    # transformers raises whatever a broken configuration meets.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(f"{folder}: its image processor cannot be read: {reason}") from None
