"""How a tower's library prepares a picture, against what its bundle says."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoImageProcessor

from offline.bundles.checkpoints import preprocessing_of
from thinwire.errors import BundleError
from thinwire.images import Preprocessing, normalise, to_pixels

# The image processors of transformers' architectures, by how their names begin; the longer of two first.
PROCESSORS = {
    "ViT": "ViTImageProcessor",
    "DeiT": "DeiTImageProcessor",
    "Dinov2": "BitImageProcessor",
    "DINOv3": "DINOv3ViTImageProcessor",
    "CLIP": "CLIPImageProcessor",
    "Siglip2": "Siglip2ImageProcessor",
    "Siglip": "SiglipImageProcessor",
}
# Mean difference in levels of 255. A centre crop of an odd rest may begin a pixel further on, which makes 6 on this
# picture: torchvision rounds half a pixel to the even number, transformers and we down.
TOLERANCE = 8.0


def picture() -> Image.Image:
    """A landscape of smooth noise, 4:3, as a photograph is."""
    coarse = np.random.default_rng(0).integers(0, 256, (18, 24, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC)


def in_words(preprocessing: Preprocessing) -> str:
    """For the table: fit, crop, interpolation, size."""
    return f"{preprocessing.fit} {preprocessing.crop:.4g} {preprocessing.interpolation} {preprocessing.size}"


def of_processor(architecture: str, folder: Path) -> tuple[Preprocessing | None, Any]:
    """What the image processor of one of transformers' architectures does unless a checkpoint says otherwise, and it.

    Args:
        folder: a new one, for its configuration.

    Returns:
        None instead of the first where it does what no bundle can state.
    """
    kind = next(kind for prefix, kind in PROCESSORS.items() if architecture.startswith(prefix))
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": kind}))
    processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    try:
        return preprocessing_of(folder, may_squash=True), processor
    except BundleError:
        return None, processor


def other_pictures(preprocessing: Preprocessing, theirs: NDArray[Any]) -> str:
    """How far a library's own normalised `picture` is from a bundle's; "" where it is the same.

    Args:
        preprocessing: the bundle's.
        theirs: ``3 x size x size``, or ``patches x values`` of a library that cuts the picture itself.
    """
    ours = normalise(to_pixels(picture(), preprocessing), preprocessing)
    if theirs.ndim == 2:
        # SigLIP 2's, cut into rows of pixels: a picture of 4:3 becomes 14 x 18 patches, filled up to the most.
        return (
            f"pictures: the library keeps their proportions in at most {len(theirs)} patches, the bundle squashes them"
        )
    if theirs.shape != ours.shape:
        shapes = " x ".join(map(str, ours.shape)), " x ".join(map(str, theirs.shape))
        return f"pictures: the library makes {shapes[1]} of one, the bundle {shapes[0]}"
    levels = np.abs(ours - theirs) * 255 * np.asarray(preprocessing.std, np.float32)[:, None, None]
    if float(levels.mean()) <= TOLERANCE:
        return ""
    return f"pictures: the library's own are {levels.mean():.0f} of 255 levels away on average"


def by_timm(model: Any) -> NDArray[Any]:
    """What timm makes of `picture` for one of its models."""
    config = timm.data.resolve_model_data_config(model)
    tensor: torch.Tensor = timm.data.create_transform(**config, is_training=False)(picture())
    return np.asarray(tensor.numpy(), dtype=np.float32)


def by_transformers(processor: Any) -> NDArray[Any]:
    """What an image processor makes of `picture`."""
    return np.asarray(processor(picture(), return_tensors="np")["pixel_values"][0])
