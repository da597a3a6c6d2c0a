"""JPEG files: what Pillow needs of them to find the pixels, and what is read of the rest.

Pillow refuses a file over a short or broken application segment; so it gets only those that say how colours are
coded. Source: ITU-T T.81, annex B; ICC.1:2022, annex B.4.
"""

import io
import struct
from typing import NamedTuple

from thinwire.errors import InvalidImageError
from thinwire.images.limits import MAX_PARTS
from thinwire.images.metadata import Metadata, bounded_profile, orientation_of

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
# Markers without a segment: fillers, restarts, the start.
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
_SCAN, _END = 0xDA, 0xD9


class Jpeg(NamedTuple):
    """A file without its metadata: `data` is at its beginning."""

    data: io.BytesIO
    metadata: Metadata


def strip(data: bytes) -> Jpeg:
    """Part the pixels from the metadata in front of the first scan.

    Raises:
        InvalidImageError: it has too many segments.
    """
    kept = io.BytesIO()
    kept.write(data[:2])
    exif, xmp, profile = io.BytesIO(), io.BytesIO(), {}
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            at = len(data)
            break
        marker = data[at + 1]
        if marker in (_SCAN, _END):
            break
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        end = at + 2 + struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : end]
        if marker == 0xE1 and body.startswith(_EXIF):
            exif.write(body[len(_EXIF) :])
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp.write(body[len(_XMP) :])
        elif marker == 0xE2 and body.startswith(_ICC) and len(body) > len(_ICC) + 2:
            profile[body[len(_ICC)]] = body[len(_ICC) + 1 :]
        elif _is_needed(marker, body):
            kept.write(data[at:end])
        at = max(end, at + 2)
    else:
        raise InvalidImageError(f"JPEG of more than {MAX_PARTS} segments")
    kept.write(data[at:])
    kept.seek(0)
    return Jpeg(kept, Metadata(orientation_of([exif.getvalue()], [xmp.getvalue()]), _joined(profile)))


def _is_needed(marker: int, body: bytes) -> bool:
    if marker == 0xE0:
        return body.startswith(b"JFIF\0") and len(body) >= 14
    if marker == 0xEE:
        return body.startswith(b"Adobe") and len(body) >= 12
    return not (0xE0 <= marker <= 0xEF or marker == 0xFE)


def _joined(parts: dict[int, bytes]) -> bytes:
    """A profile of parts by number, each with the count of all in front, or nothing where one is missing."""
    numbers = range(1, len(parts) + 1)
    if any(number not in parts or parts[number][0] != len(parts) for number in numbers):
        return b""
    return bounded_profile(b"".join(parts[number][1:] for number in numbers))
