"""Decoding of images that may be hostile: which reader a file gets, and from its pixels to sRGB."""

import io
import math
import struct
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import BmpImagePlugin, GifImagePlugin, Image

from thinwire.errors import InvalidImageError, PayloadTooLargeError
from thinwire.images import limits
from thinwire.images.colour import to_rgb
from thinwire.images.jpeg import open_jpeg
from thinwire.images.png import SIGNATURE, open_png
from thinwire.images.preprocessing import Area, Preprocessing, area_of, to_pixels
from thinwire.images.reading import Opened, bounded_profile, orientation_of, refusing
from thinwire.images.tiff import open_tiff
from thinwire.images.webp import open_webp
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


async def decode_apart(
    data: bytes, preprocessing: Preprocessing, deadline_s: float = math.inf
) -> tuple[NDArray[np.uint8], Area]:
    """`decode`, `to_pixels` and `area_of`, on one of the few threads that a process has for that.

    Args:
        data: as for `decode`.
        preprocessing: as for `to_pixels`.
        deadline_s: when nobody wants the pixels any more, by the event loop's clock.

    Returns:
        a ``size x size x 3`` array of uint8, and which part of the upright image it shows.

    Raises:
        OverloadedError, DeadlineError: as for `Workers.run`.
        PayloadTooLargeError, InvalidImageError: as for `decode`.
    """

    def run() -> tuple[NDArray[np.uint8], Area]:
        image = decode(data)
        return to_pixels(image, preprocessing), area_of(image.size, preprocessing)

    return await _DECODERS.run(run, deadline_s)


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
    image, orientation, profile, grey, whole, description = opened
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
        if orientation in _UPRIGHT:
            image = image.transpose(_UPRIGHT[orientation])
        return to_rgb(image, grey, profile)


def open_image(data: bytes) -> Opened | None:
    """Read a file's header, by the plugin of its format: `Image.open` hides why one refuses.

    Returns:
        nothing where the bytes start as no format does.

    Raises:
        InvalidImageError: the header cannot be read, or pixels are missing.
    """
    for form, (signatures, opener) in _OPENERS.items():
        if data.startswith(signatures):
            with refusing(form):
                opened = opener(data)
            return opened and opened._replace(description=opened.description or form)
    return None


def _open_bmp(data: bytes) -> Opened:
    profile = b""
    # The header of version 5 ends with where a profile is, if there is one. Source: BITMAPV5HEADER.
    if len(data) > 138 and data[14:18] == struct.pack("<I", 124) and data[70:74] == b"DEBM":
        start, length = struct.unpack_from("<II", data, 126)
        profile = bounded_profile(data[14 + start : 14 + start + length])
    return Opened(BmpImagePlugin.BmpImageFile(io.BytesIO(data)), profile=profile)


def _open_gif(data: bytes) -> Opened:
    image = GifImagePlugin.GifImageFile(io.BytesIO(data))
    xmp = image.info.get("xmp", b"")
    return Opened(image, orientation_of(xmp=[xmp] if isinstance(xmp, bytes) else []))


_OPENERS: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], Opened | None]]] = {
    "JPEG": ((b"\xff\xd8\xff",), open_jpeg),
    "PNG": ((SIGNATURE,), open_png),
    "WebP": ((b"RIFF",), open_webp),
    "BMP": ((b"BM",), _open_bmp),
    "GIF": ((b"GIF87a", b"GIF89a"), _open_gif),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), open_tiff),
}
