"""Decoding of images that may be hostile."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from thinwire.errors import InvalidImageError, PayloadTooLargeError
from thinwire.images import limits
from thinwire.images.colour import to_srgb
from thinwire.images.files import open_image, refusing
from thinwire.images.preprocessing import Preprocessing, to_pixels
from thinwire.images.samples import colours_of, to_rgb
from thinwire.workers import Workers

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
# What brings an image upright, by its orientation.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Two: the largest images take up to 0.6 GB each while they are decoded, and some of them are files of 200 KiB.
_DECODERS = Workers("decode", threads=2)

# Pillow warns of what it meets in damaged files. Filters belong to the whole process, so this stands here and not in
# a `warnings.catch_warnings` around each decoding, which threads that overlap would leave behind for good.
warnings.filterwarnings("ignore", module=r"PIL\.", append=True)


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
    """Decode an image to 8-bit sRGB, upright, with transparency over white; of several pages or frames, the first.

    Samples of more bits or with a sign are scaled by the range of their type, floats by 0 to 1, or by the file's
    SMinSampleValue and SMaxSampleValue. Metadata that cannot be read are ignored. `docs/images.md` lists what is taken.

    Args:
        data: an encoded image in one of `FORMATS`.

    Raises:
        PayloadTooLargeError: more than `MAX_BYTES` bytes or, as its header says, more than `MAX_PIXELS` pixels
            (WebP: `MAX_WEBP_PIXELS`) or `MAX_SIDE` a side.
        InvalidImageError: the bytes are not a whole image, or Pillow would decode them to something else.
    """
    if len(data) > limits.MAX_BYTES:
        raise PayloadTooLargeError(f"the image has {len(data)} bytes; the limit is {limits.MAX_BYTES}")
    opened = open_image(data)
    if opened is None:
        raise InvalidImageError(f"{len(data)} bytes that are not an image ({', '.join(FORMATS)})")
    image, metadata, grey, whole, description = opened
    # Otherwise an image that is decoded a second time would be in memory twice.
    del opened
    with refusing(description):
        most = limits.MAX_WEBP_PIXELS if image.format == "WEBP" else limits.MAX_PIXELS
        if image.width * image.height > most or max(image.size) > limits.MAX_SIDE:
            raise PayloadTooLargeError(
                f"the image has {image.width} x {image.height} pixels; the limit is {most}, "
                f"and {limits.MAX_SIDE} a side"
            )
        image.load()
        if whole is not None:
            image = whole(image)
            # It holds the file.
            whole = None
        # Before its colours are converted, since most images take less memory until then.
        if metadata.orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[metadata.orientation])
        return to_rgb(image, grey, to_srgb(metadata.profile, colours_of(image)))
