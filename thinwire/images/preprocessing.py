"""The preprocessing that a bundle asks for."""

import io
import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from thinwire.errors import BundleError
from thinwire.records import Count, Number, record

# Of a longer image only the middle is resized: the rest would be enlarged only to be cut away, and a JPEG of
# 1 x 65535 pixels would take gigabytes.
MAX_ASPECT = 8
Interpolation = Literal["bilinear", "bicubic"]
RESAMPLING: dict[Interpolation, Image.Resampling] = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


Spread = Annotated[Number, Field(gt=0)]


@record("preprocessing", BundleError)
class Preprocessing:
    """How an image becomes the model's input.

    Attributes:
        size: height and width of the square input in pixels.
        crop: share of the resized image's shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bilinear" or "bicubic".
        mean: per-channel mean of values in [0, 1].
        std: per-channel standard deviation of values in [0, 1].
        fit: "crop" keeps an image's proportions and cuts off what is outside the square; "squash" makes all of it
            square.
    """

    size: Count
    crop: Annotated[Number, Field(gt=0, le=1)]
    interpolation: Interpolation
    mean: tuple[Number, Number, Number]
    std: tuple[Spread, Spread, Spread]
    fit: Literal["crop", "squash"] = "crop"


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize the shorter side, or both, and crop the centre.

    Returns:
        a ``size x size x 3`` array of uint8.
    """
    size = preprocessing.size
    shorter = math.floor(size / preprocessing.crop)
    if preprocessing.fit == "squash":
        width = height = max(size, shorter)
    else:
        image = _trim(image)
        scale = shorter / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), RESAMPLING[preprocessing.interpolation])
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def _trim(image: Image.Image) -> Image.Image:
    """The middle of an image, at most `MAX_ASPECT` times as long as it is wide, with the same centre."""
    limit = MAX_ASPECT * min(image.size)
    width, height = (min(side, limit + (side - limit) % 2) for side in image.size)
    if (width, height) == image.size:
        return image
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """``height x width x 3`` pixels as a PNG, which keeps them as they are."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def normalise(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> NDArray[np.float32]:
    """Scale to [0, 1], subtract the mean, divide by the standard deviation.

    Args:
        pixels: a ``... x size x size x 3`` array.

    Returns:
        a ``... x 3 x size x size`` array of float32.
    """
    mean = np.asarray(preprocessing.mean, dtype=np.float32)
    std = np.asarray(preprocessing.std, dtype=np.float32)
    scaled = (pixels.astype(np.float32) / np.float32(255.0) - mean) / std
    return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))
