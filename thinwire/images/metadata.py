"""What is read of a file beside its pixels: its orientation, and its colour profile.

Each reader here takes bytes that may be anything, and gives nothing where they say nothing: what stands beside the
pixels is no reason to refuse them.
"""

import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from thinwire.images.limits import MAX_PROFILE_BYTES, MAX_TEXT_BYTES

ORIENTATION = 274
# Bytes that a value of each type takes which an orientation is found in: BYTE, SHORT, LONG.
_INTEGERS = {1: "B", 3: "H", 4: "I"}
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])")


@dataclass(frozen=True)
class Metadata:
    """What a file says of its pixels.

    Attributes:
        orientation: as in EXIF, 1 (upright) to 8.
        profile: an ICC profile, or nothing.
    """

    orientation: int = 1
    profile: bytes = b""


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
