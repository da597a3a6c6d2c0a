"""WebP files: what Pillow needs of them to find the pixels, and what is read of the rest. Source: RFC 9649."""

import io
import struct

from PIL import WebPImagePlugin

from thinwire.errors import InvalidImageError
from thinwire.images.limits import MAX_PARTS
from thinwire.images.reading import Opened, bounded_profile, orientation_of

# Of the extended header: profile, EXIF and XMP follow.
_FLAGS = 0x20 | 0x08 | 0x04


def open_webp(data: bytes) -> Opened | None:
    """Read a file's header; the pixels are parted from the metadata. Metadata that a cut file lacks are no loss.

    Returns:
        nothing where it is another RIFF file.

    Raises:
        InvalidImageError: it has too many chunks.
    """
    if data[8:12] != b"WEBP":
        return None
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
    file = io.BytesIO(b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + kept)
    return Opened(WebPImagePlugin.WebPImageFile(file), orientation, profile)
