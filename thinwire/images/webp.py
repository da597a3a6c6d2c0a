"""WebP files: what Pillow needs of them to find the pixels, and what is read of the rest. Source: RFC 9649."""

import struct
from typing import NamedTuple

from thinwire.errors import InvalidImageError
from thinwire.images.limits import MAX_PARTS
from thinwire.images.metadata import Metadata, bounded_profile, orientation_of

# Of the extended header: profile, EXIF and XMP follow.
_FLAGS = 0x20 | 0x08 | 0x04


class Webp(NamedTuple):
    """A file without its metadata."""

    data: bytes
    metadata: Metadata


def strip(data: bytes) -> Webp:
    """Part the pixels from the metadata; metadata that a cut file lacks are no loss.

    Raises:
        InvalidImageError: it has too many chunks.
    """
    kept = bytearray()
    found: dict[bytes, bytes] = {}
    at = 12
    size = 8 + struct.unpack_from("<I", data, 4)[0]
    for _ in range(MAX_PARTS):
        if at + 8 > min(size, len(data)):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        end = at + 8 + length + length % 2
        if kind in (b"ICCP", b"EXIF", b"XMP "):
            found.setdefault(kind, data[at + 8 : at + 8 + length])
        elif kind == b"VP8X":
            header = bytearray(data[at:end])
            header[8:9] = bytes(flags & ~_FLAGS for flags in header[8:9])
            kept += header
        else:
            # The length of a chunk that is cut stays, so that the decoder notices.
            kept += data[at:end]
        at = end
    else:
        raise InvalidImageError(f"WebP of more than {MAX_PARTS} chunks")
    profile = bounded_profile(found.get(b"ICCP", b""))
    orientation = orientation_of([found.get(b"EXIF", b"")], [found.get(b"XMP ", b"")])
    return Webp(b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + kept, Metadata(orientation, profile))
