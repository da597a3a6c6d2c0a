"""What the readers of all formats share: what they give, how they refuse, and the metadata that matter.

Each reader of metadata takes bytes that may be anything, and gives nothing where they say nothing: what stands beside
the pixels is no reason to refuse them.
"""

import contextlib
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from PIL import Image

from thinwire.errors import InvalidImageError, PayloadTooLargeError, ThinwireError
from thinwire.images.colour import Grey
from thinwire.images.limits import MAX_PROFILE_BYTES, MAX_TEXT_BYTES

ORIENTATION = 274
# Bytes that a value of each type takes which an orientation is found in: BYTE, SHORT, LONG.
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")


class Opened(NamedTuple):
    """A file whose header is read.

    Attributes:
        image: not decoded yet.
        orientation: as in EXIF, 1 (upright) to 8.
        profile: an ICC profile, or nothing.
        grey: what its samples mean, if that is not what Pillow takes them for.
        whole: makes a picture that lacks nothing of the decoded one, or raises InvalidImageError where pixels are
            missing; none where Pillow tells that.
        description: the format, and perhaps the samples, for messages.
    """

    image: Image.Image
    orientation: int = 1
    profile: bytes = b""
    grey: Grey | None = None
    whole: Callable[[Image.Image], Image.Image] | None = None
    description: str = ""


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


def orientation_of(exif: Iterable[bytes] = (), xmp: Iterable[bytes] = ()) -> int:
    """The first orientation, 1 to 8, that blocks of EXIF tell, or else of XMP; 1 where none does."""
    for block in exif:
        if found := exif_orientation(block):
            return found
    for packet in xmp:
        if match := _XMP_ORIENTATION.search(packet[:MAX_TEXT_BYTES]):
            return int(match[1])
    return 1


def exif_orientation(block: bytes) -> int:
    """The orientation in the first directory of an EXIF block, 1 to 8, or 0; other fields are not looked at.

    Source: TIFF 6.0, section 2.
    """
    while block.startswith(b"Exif\0\0"):
        block = block[6:]
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 0
    try:
        (start,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, start)
        for entry in range(count):
            tag, kind, values = struct.unpack_from(order + "HHI", block, start + 2 + 12 * entry)
            if tag == ORIENTATION and kind in _INTEGERS and values >= 1:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], block, start + 10 + 12 * entry)
                return int(value) if 1 <= value <= 8 else 0
    except struct.error:
        pass
    return 0


def inflate(data: bytes, most: int) -> bytes:
    """What zlib packed, or nothing where it is damaged or more than so many bytes."""
    try:
        inflated = zlib.decompressobj().decompress(data, most + 1)
    except zlib.error:
        return b""
    return inflated if len(inflated) <= most else b""


def bounded_profile(profile: bytes) -> bytes:
    """The profile, or nothing where it is too large."""
    return profile if len(profile) <= MAX_PROFILE_BYTES else b""
