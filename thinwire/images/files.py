"""Which decoder a file gets, and what of the file that decoder gets."""

import contextlib
import functools
import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from PIL import BmpImagePlugin, GifImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from thinwire.errors import InvalidImageError, PayloadTooLargeError, ThinwireError
from thinwire.images import jpeg, png, scans, tiff, webp
from thinwire.images.metadata import Metadata, bounded_profile, orientation_of
from thinwire.images.samples import SIXTEEN_BITS, Grey, with_clear


class Opened(NamedTuple):
    """A file whose header is read.

    Attributes:
        image: not decoded yet.
        metadata: what the file says of its pixels.
        grey: what its samples mean, if that is not what Pillow takes them for.
        whole: makes a picture that lacks nothing of the decoded one, or raises InvalidImageError where pixels are
            missing; none where Pillow tells that.
        description: the format, and perhaps the samples, for messages.
    """

    image: Image.Image
    metadata: Metadata
    grey: Grey | None = None
    whole: Callable[[Image.Image], Image.Image] | None = None
    description: str = ""


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


@contextlib.contextmanager
def refusing(description: str) -> Iterator[None]:
    """Say of what image it is that Pillow does not decode it, and why, in words.

    Raises:
        PayloadTooLargeError: it has too many pixels for Pillow.
        InvalidImageError: anything else.
    """
    try:
        yield
    except ThinwireError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PayloadTooLargeError(str(error)) from None
    # Pillow's decoders let many kinds of exception through on malformed input (struct.error, KeyError, ...).
    except Exception as error:
        reason = str(error)
        if isinstance(error, struct.error | LookupError | TypeError):
            reason = "its structure is damaged or cut off"
        elif reason.startswith("image file is truncated"):
            reason = "pixels are missing: its data are cut off"
        elif reason.startswith("decoder error") or not re.search(r"[A-Za-z]+ [A-Za-z]+", reason):
            # A number, a key of a table, nothing.
            reason = "it is damaged, or coded in a way that is not supported"
        raise InvalidImageError(f"{description} is not decoded: {reason}") from None


def _open_jpeg(data: bytes) -> Opened:
    stripped = jpeg.strip(data)
    return Opened(
        JpegImagePlugin.JpegImageFile(stripped.data),
        stripped.metadata,
        whole=functools.partial(scans.whole, stripped.data, stripped.scans) if stripped.scans else None,
    )


def _open_png(data: bytes) -> Opened:
    stripped = png.strip(data)
    if stripped.clear and stripped.bits == 16 and stripped.colour == 2:
        raise InvalidImageError("PNG of 16-bit RGB with a clear colour: of 16 bits 8 are left, which do not tell it")
    image = PngImagePlugin.PngImageFile(io.BytesIO(stripped.data))
    opened = Opened(image, stripped.metadata, whole=functools.partial(png.whole, stripped))
    if image.mode.startswith("I;16"):
        return opened._replace(grey=with_clear(SIXTEEN_BITS, stripped.clear))
    if stripped.clear and 1 < stripped.bits <= 8 and stripped.colour == 0:
        # Pillow scales the samples, and not the one that is clear.
        most = (1 << stripped.bits) - 1
        image.info["transparency"] = (stripped.clear[0] & most) * 255 // most
    return opened


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
    description = f"{stripped.description},"
    with refusing(description):
        image = TiffImagePlugin.TiffImageFile(stripped.data)
    return Opened(image, stripped.metadata, stripped.grey, description=description)


_OPENERS: dict[str, tuple[tuple[bytes, ...], Callable[[bytes], Opened | None]]] = {
    "JPEG": ((b"\xff\xd8\xff",), _open_jpeg),
    "PNG": ((png.SIGNATURE,), _open_png),
    "WebP": ((b"RIFF",), _open_webp),
    "BMP": ((b"BM",), _open_bmp),
    "GIF": ((b"GIF87a", b"GIF89a"), _open_gif),
    "TIFF": ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _open_tiff),
}
