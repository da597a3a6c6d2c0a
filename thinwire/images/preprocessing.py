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
# Left, top, right and bottom of a part of an image, in its pixels.
Area = tuple[float, float, float, float]
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
    if preprocessing.fit == "crop":
        image = _trim(image)
    width, height = _resized(image.size, preprocessing)
    if (width, height) != image.size:
        image = image.resize((width, height), RESAMPLING[preprocessing.interpolation])
    left, top = (width - size) // 2, (height - size) // 2
    return np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def area_of(size: tuple[int, int], preprocessing: Preprocessing) -> Area:
    """The part of an image that `to_pixels` keeps.

    Args:
        size: width and height of the image.
        preprocessing: as for `to_pixels`.
    """
    kept = _trimmed(size) if preprocessing.fit == "crop" else size
    starts: list[float] = []
    ends: list[float] = []
    for whole, side, resized in zip(size, kept, _resized(kept, preprocessing), strict=True):
        scale = side / resized
        starts.append((whole - side) // 2 + (resized - preprocessing.size) // 2 * scale)
        ends.append(starts[-1] + preprocessing.size * scale)
    return starts[0], starts[1], ends[0], ends[1]


def _resized(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[int, int]:
    least, shorter = preprocessing.size, math.floor(preprocessing.size / preprocessing.crop)
    if preprocessing.fit == "squash":
        return max(least, shorter), max(least, shorter)
    scale = shorter / min(size)
    return max(least, round(size[0] * scale)), max(least, round(size[1] * scale))


def _trimmed(size: tuple[int, int]) -> tuple[int, int]:
    limit = MAX_ASPECT * min(size)
    width, height = (min(side, limit + (side - limit) % 2) for side in size)
    return width, height


def _trim(image: Image.Image) -> Image.Image:
    """The middle of an image, at most `MAX_ASPECT` times as long as it is wide, with the same centre."""
    width, height = _trimmed(image.size)
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
