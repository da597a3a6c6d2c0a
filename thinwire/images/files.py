"""Which decoder a file gets, and what of the file that decoder gets."""

import io
import struct
from collections.abc import Callable
from typing import NamedTuple

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from thinwire.errors import InvalidImageError
from thinwire.images import jpeg, png, tiff, webp
from thinwire.images.metadata import Metadata, bounded_profile, orientation_of
from thinwire.images.samples import SIXTEEN_BITS, Grey, with_clear


class Opened(NamedTuple):
    """A file whose header is read.

    Attributes:
        image: not decoded yet.
        metadata: what the file says of its pixels.
        grey: what its samples mean, if that is not what Pillow takes them for.
    """

    image: Image.Image
    metadata: Metadata
    grey: Grey | None = None


def open_image(data: bytes) -> Opened | None:
    """Read a file's header, by the plugin of its format: `Image.open` hides why one refuses.

    Returns:
        nothing where the bytes start as no format does.

    Raises:
        InvalidImageError, SyntaxError, ...: the header cannot be read.
    """
    for signatures, opener in _OPENERS.items():
        if data.startswith(signatures):
            return opener(data)
    return None


def _open_jpeg(data: bytes) -> Opened:
    stripped = jpeg.strip(data)
    return Opened(JpegImagePlugin.JpegImageFile(stripped.data), stripped.metadata)


def _open_png(data: bytes) -> Opened:
    stripped = png.strip(data)
    if stripped.clear and stripped.bits == 16 and stripped.colour == 2:
        raise InvalidImageError("PNG of 16-bit RGB with a clear colour: of 16 bits 8 are left, which do not tell it")
    image = PngImagePlugin.PngImageFile(io.BytesIO(stripped.data))
    if image.mode.startswith("I;16"):
        return Opened(image, stripped.metadata, with_clear(SIXTEEN_BITS, stripped.clear))
    if stripped.clear and 1 < stripped.bits <= 8 and stripped.colour == 0:
        # Pillow scales the samples, and not the one that is clear.
        most = (1 << stripped.bits) - 1
        image.info["transparency"] = (stripped.clear[0] & most) * 255 // most
    return Opened(image, stripped.metadata)


def _open_webp(data: bytes) -> Opened | None:
    if data[8:12] != b"WEBP":
        return None
    stripped = webp.strip(data)
    return Opened(WebPImagePlugin.WebPImageFile(io.BytesIO(stripped.data)), stripped.metadata)


def _open_bmp(data: bytes) -> Opened:
    profile = b""
    # The header of version 5 ends with where a profile is, if there is one. Source: BITMAPV5HEADER.
    if len(data) > 138 and data[14:18] == struct.pack("<I", 124) and data[70:74] == b"DEBM":
        start, length = struct.unpack_from("<II", data, 126)
        profile = bounded_profile(data[14 + start : 14 + start + length])
    return Opened(BmpImagePlugin.BmpImageFile(io.BytesIO(data)), Metadata(profile=profile))


def _open_gif(data: bytes) -> Opened:
    image = GifImagePlugin.GifImageFile(io.BytesIO(data))
    xmp = image.info.get("xmp", b"")
    return Opened(image, Metadata(orientation_of(xmp=[xmp] if isinstance(xmp, bytes) else [])))


def _open_tiff(data: bytes) -> Opened:
    stripped = tiff.strip(data)
    try:
        return Opened(TiffImagePlugin.TiffImageFile(stripped.data), stripped.metadata, stripped.grey)
    except SyntaxError as error:
        raise InvalidImageError(f"{stripped.description}, is not decoded: {error}") from None


_OPENERS: dict[tuple[bytes, ...], Callable[[bytes], Opened | None]] = {
    (b"\xff\xd8\xff",): _open_jpeg,
    (png.SIGNATURE,): _open_png,
    (b"RIFF",): _open_webp,
    (b"BM",): _open_bmp,
    (b"GIF87a", b"GIF89a"): _open_gif,
    (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"): _open_tiff,
}
