"""Decoding of images that may be hostile, and the preprocessing that a bundle asks for. No torch."""

import io
import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from thinwire.errors import InvalidImageError, PayloadTooLargeError
from thinwire.workers import Workers

MAX_BYTES = 16 * 2**20
MAX_PIXELS = 50_000_000
# Pillow's decoder of WebP holds an image four times, where others hold it once or twice.
MAX_WEBP_PIXELS = MAX_PIXELS // 2
# As many as JPEG allows. Pillow keeps every row by itself: 50 million rows of one pixel would take a gigabyte.
MAX_SIDE = 65_535
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# So many are converted at once, since a copy of a large image takes as much memory as the image.
BAND_PIXELS = 2**20
# Of a longer image only the middle is resized: the rest would be enlarged only to be cut away, and a JPEG of
# 1 x 65535 pixels would take gigabytes.
MAX_ASPECT = 8
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}

# Two: the largest images take up to 0.6 GB each while they are decoded, and some of them are files of 200 KiB.
_DECODERS = Workers("decode", threads=2)

# Pillow warns of what it meets in damaged files. Filters belong to the whole process, so this stands here and not in
# a `warnings.catch_warnings` around each decoding, which threads that overlap would leave behind for good.
warnings.filterwarnings("ignore", module=r"PIL\.", append=True)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the model's input.

    Attributes:
        size: height and width of the square input in pixels.
        crop: share of the resized image's shorter side that the centre crop keeps, in (0, 1].
        interpolation: "bilinear" or "bicubic".
        mean: per-channel mean of values in [0, 1].
        std: per-channel standard deviation of values in [0, 1].
    """

    size: int
    crop: float
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


async def decode_apart(data: bytes, preprocessing: Preprocessing, deadline_s: float = math.inf) -> NDArray[np.uint8]:
    """`decode` and `to_pixels`, on one of the few threads that a process has for that.

    Args:
        data: as for `decode`.
        preprocessing: as for `to_pixels`.
        deadline_s: when nobody wants the pixels any more, by the event loop's clock.

    Returns:
        a ``size x size x 3`` array of uint8.

    Raises:
        OverloadedError, DeadlineError: as for `Workers.run`.
        PayloadTooLargeError, InvalidImageError: as for `decode`.
    """
    return await _DECODERS.run(lambda: to_pixels(decode(data), preprocessing), deadline_s)


def decode(data: bytes) -> Image.Image:
    """Decode an image to 8-bit RGB, upright, with transparency over white.

    Args:
        data: an encoded image in one of `FORMATS`.

    Raises:
        PayloadTooLargeError: more than `MAX_BYTES` bytes or, as its header says, more than `MAX_PIXELS` pixels
            (WebP: `MAX_WEBP_PIXELS`) or `MAX_SIDE` a side.
        InvalidImageError: the bytes are not a whole image.
    """
    if len(data) > MAX_BYTES:
        raise PayloadTooLargeError(f"the image has {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=FORMATS)
        most = MAX_WEBP_PIXELS if image.format == "WEBP" else MAX_PIXELS
        if image.width * image.height > most or max(image.size) > MAX_SIDE:
            raise PayloadTooLargeError(
                f"the image has {image.width} x {image.height} pixels; the limit is {most}, and {MAX_SIDE} a side"
            )
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _to_rgb(image)
    except PayloadTooLargeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PayloadTooLargeError(str(error)) from None
    except UnidentifiedImageError:
        raise InvalidImageError(f"{len(data)} bytes that are not an image ({', '.join(FORMATS)})") from None
    # Pillow's decoders let many kinds of exception through on malformed input (struct.error, KeyError, ...).
    except Exception as error:
        raise InvalidImageError(f"the image cannot be decoded: {error}") from None


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    rows = max(1, BAND_PIXELS // image.width)
    whole = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        whole.paste(_band_to_rgb(band), (0, top))
    return whole


def _band_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        # Pillow's own conversion clips 16-bit grey at 255 instead of scaling it.
        grey = np.nan_to_num(np.asarray(image, dtype=np.float32))
        return Image.fromarray(np.clip(grey / 257.0, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def to_pixels(image: Image.Image, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Resize the shorter side and crop the centre.

    Returns:
        a ``size x size x 3`` array of uint8.
    """
    image = _trim(image)
    size = preprocessing.size
    shorter = math.floor(size / preprocessing.crop)
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
