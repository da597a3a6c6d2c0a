"""JPEG files: what Pillow needs of them to find the pixels, and what is read of the rest.

Pillow refuses a file over a short or broken application segment; so it gets only those that say how colours are
coded. Source: ITU-T T.81, annex B; ICC.1:2022, annex B.4.
"""

import io
import struct
from typing import NamedTuple

from thinwire.errors import InvalidImageError
from thinwire.images import scans
from thinwire.images.limits import MAX_PARTS
from thinwire.images.metadata import Metadata, bounded_profile, orientation_of

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
# Markers without a segment: fillers, restarts, the start.
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
# Of a frame: tables and arithmetic conditioning have markers among those of frames.
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_RESTARTS = 0xDD


class Jpeg(NamedTuple):
    """A file without its metadata, and without what is behind its last scan.

    Attributes:
        data: at its beginning.
        metadata: what the rest said.
        scans: where they are in `data`, if there are any.
    """

    data: io.BytesIO
    metadata: Metadata
    scans: scans.Scans | None


def strip(data: bytes) -> Jpeg:
    """Part the pixels from the metadata in front of the first scan.

    Raises:
        InvalidImageError: it has too many segments, or pixels are missing.
    """
    kept = io.BytesIO()
    kept.write(data[:2])
    exif, xmp, profile = io.BytesIO(), io.BytesIO(), {}
    frame, restarts = b"", 0
    found = None
    at = 2
    for _ in range(MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            at = len(data)
            break
        marker = data[at + 1]
        if marker == scans.SCAN:
            found = scans.find(data, at, frame, restarts)
            break
        if marker == scans.END:
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
            if marker in _FRAMES:
                frame = bytes([marker]) + body
            elif marker == _RESTARTS:
                restarts = int.from_bytes(body[:2])
        at = max(end, at + 2)
    else:
        raise InvalidImageError(f"JPEG of more than {MAX_PARTS} segments")
    if found is None:
        kept.write(data[at:])
    else:
        kept.write(memoryview(data)[at : found.end])
        found = found._replace(end=kept.tell(), start=kept.tell() - (found.end - found.start))
        kept.write(scans.END_OF_IMAGE)
    kept.seek(0)
    return Jpeg(kept, Metadata(orientation_of([exif.getvalue()], [xmp.getvalue()]), _joined(profile)), found)


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
