"""JPEG files: what Pillow needs of them to find the pixels, what is read of the rest, and whether all pixels are there.

Pillow refuses a file over a short or broken application segment; so it gets only those that say how colours are
coded. libjpeg says nothing of pixels that it misses: it makes them up. Whether it did is told by what it makes of other
bytes at the end: where all pixels were there, nobody reads those. Source: ITU-T T.81, annexes B and G; ICC.1:2022,
annex B.4.
"""

import functools
import io
import random
import re
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image, JpegImagePlugin

from thinwire.errors import InvalidImageError
from thinwire.images import limits
from thinwire.images.reading import Opened, bounded_profile, orientation_of

_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
# Markers. Tables and arithmetic conditioning have theirs among those of frames.
_START, _END, _SCAN, _RESTARTS = 0xD8, 0xD9, 0xDA, 0xDD
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Without a segment: fillers, restarts, the start.
_ALONE = {0x00, 0x01, *range(0xD0, 0xD9)}
# Stuffed bytes and fillers are no markers; restarts are none that ends a scan which has them.
_MARKER, _MARKER_BUT_RESTART = re.compile(rb"\xff[^\x00\xff]"), re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_RESTART_MARKERS = [bytes([0xFF, 0xD0 + number]) for number in range(8)]
_END_OF_IMAGE = b"\xff\xd9"
# No two ones follow each other: the codes of small tables have few of them, and others are read as nothing.
_BITS = random.Random(0).getrandbits(510)
_BITS = 0b10 << 510 | _BITS & ~(_BITS >> 1)
# To go on with. A table of a single code has only zeros, so that other intervals of restarts begin with one.
_NOISE, _NOISE_AFTER_ZERO = _BITS.to_bytes(64), (_BITS >> 1).to_bytes(64)
# Of brightness, in a block of one colour whose colour differences are those of its neighbours, too.
_ROUNDING = 4
# It takes about a millisecond to decode a picture of so many pixels, so that one is always decoded twice.
_FEW_PIXELS = 2**16


class _Scans(NamedTuple):
    """Where the scans of a file are.

    Attributes:
        end: of the last one's data.
        start: of the last one's data.
        is_suspicious: pixels may be missing, although the last ones do not look like it.
    """

    end: int
    start: int
    is_suspicious: bool


def open_jpeg(data: bytes) -> Opened:
    """Read a file's header; the pixels are parted from the metadata, and from what is behind the last scan.

    Raises:
        InvalidImageError: it has too many segments, or pixels are missing.
    """
    kept = io.BytesIO()
    kept.write(data[:2])
    exif, xmp, profile = io.BytesIO(), io.BytesIO(), {}
    frame, restarts = b"", 0
    found = None
    at = 2
    for _ in range(limits.MAX_PARTS):
        at = data.find(b"\xff", at)
        if at < 0 or at + 4 > len(data):
            at = len(data)
            break
        marker = data[at + 1]
        if marker == _SCAN:
            found = _find_scans(data, at, frame, restarts)
            break
        if marker == _END:
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
        raise InvalidImageError(f"JPEG of more than {limits.MAX_PARTS} segments")
    if found is None:
        kept.write(data[at:])
    else:
        kept.write(memoryview(data)[at : found.end])
        found = found._replace(end=kept.tell(), start=kept.tell() - (found.end - found.start))
        kept.write(_END_OF_IMAGE)
    kept.seek(0)
    return Opened(
        JpegImagePlugin.JpegImageFile(kept),
        orientation_of([exif.getvalue()], [xmp.getvalue()]),
        _joined(profile),
        whole=functools.partial(_whole, kept, found) if found else None,
    )


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


def _find_scans(data: bytes, at: int, frame: bytes, restarts: int) -> _Scans:
    """Go through all scans of a file.

    Args:
        data: the file.
        at: where its first scan's header is.
        frame: the frame header: its marker, and what follows its length.
        restarts: the interval of restarts, 0 for none.

    Raises:
        InvalidImageError: the scans do not say all of every coefficient, or there are too many segments.
    """
    is_progressive = frame[:1] in (b"\xc2", b"\xc6", b"\xca", b"\xce")
    # By component, the lowest bit that is said of each coefficient.
    count_of_components = frame[6] if len(frame) > 6 else 0
    lowest = {component: bytearray(b"\xff" * 64) for component in frame[7 : 7 + 3 * count_of_components : 3]}
    count, start, end, is_ended, is_refined = 0, at, at, False, False
    for _ in range(limits.MAX_PARTS):
        found = (_MARKER_BUT_RESTART if restarts else _MARKER).search(data, at)
        if found is None:
            break
        at, marker = found.start(), data[found.start() + 1]
        end = end or at
        if marker in (_START, _END):
            is_ended = marker == _END
            break
        if marker in _ALONE:
            at += 2
            continue
        next_at = at + 2 + int.from_bytes(data[at + 2 : at + 4])
        if next_at > len(data) or next_at < at + 4:
            break
        if marker == _RESTARTS:
            restarts = int.from_bytes(data[at + 4 : at + 6])
        elif marker == _SCAN and next_at - at >= 10:
            first, last, bits = struct.unpack_from("BBB", data, next_at - 3) if is_progressive else (0, 63, 0)
            said = slice(first, min(last, 63) + 1)
            for component in data[at + 5 : next_at - 3 : 2]:
                if component in lowest:
                    lowest[component][said] = bytes([bits & 15]) * (said.stop - said.start)
            count, start, end, is_refined = count + 1, next_at, 0, bits > 15
        at = next_at
    else:
        raise InvalidImageError(f"JPEG of more than {limits.MAX_PARTS} segments")
    if any(any(bits) for bits in lowest.values()):
        raise InvalidImageError("JPEG of which pixels are missing: its scans do not say all of every component")
    return _Scans(_end_of_data(data, start, end), start, not is_ended or (count > 1 and not is_refined))


def _end_of_data(data: bytes, start: int, marker: int) -> int:
    """Where a scan's data end: at a marker, or with the file where there is none (0)."""
    end = marker
    if not marker:
        # One zero byte may be of the scan; more are what a file was filled up with.
        end = min(start + len(data[start:].rstrip(b"\0")) + 1, len(data))
    # Fillers, or half of a marker.
    return start + len(data[start:end].rstrip(b"\xff"))


def _whole(file: io.BytesIO, scans: _Scans, image: Image.Image) -> Image.Image:
    """Tell whether all pixels of a picture were in its file.

    Args:
        file: the file; it is changed.
        scans: of the file.
        image: decoded from it; it is closed where it takes a second decoding to tell.

    Returns:
        an image of the same pixels.

    Raises:
        InvalidImageError: some were not.
    """
    if image.width * image.height > _FEW_PIXELS and not scans.is_suspicious and not _ends_flat(image):
        return image
    before = _checksum(image)
    # One picture at a time.
    image.close()
    upcoming = _next_restart(file, scans)
    file.seek(scans.end)
    file.write(_NOISE)
    # Without restarts, a file that ends with an interval would not have its noise read.
    for number in range(upcoming, upcoming + 8):
        file.write(_RESTART_MARKERS[number % 8] + (_NOISE_AFTER_ZERO if (number - upcoming) % 2 else _NOISE))
    file.write(_END_OF_IMAGE)
    file.seek(0)
    again = JpegImagePlugin.JpegImageFile(file)
    again.load()
    if _checksum(again) != before:
        raise InvalidImageError("JPEG of which pixels are missing: its data end before the last of them")
    return again


def _next_restart(file: io.BytesIO, scans: _Scans) -> int:
    """The number of the restart that would follow the last one in the data, from 0."""
    file.seek(scans.start)
    data = file.read(scans.end - scans.start)
    latest = max(_RESTART_MARKERS, key=data.rfind)
    return _RESTART_MARKERS.index(latest) + 1 if latest in data else 0


def _ends_flat(image: Image.Image) -> bool:
    """Whether the last block is of one brightness, as those are that libjpeg makes up."""
    layers = getattr(image, "layer", [])
    across, down = (8 if len(layers) == 1 else 8 * max(layer[side] for layer in layers) for side in (1, 2))
    left, top = ((image.width - 1) // across * across, (image.height - 1) // down * down)
    block = image.crop((left, top, image.width, image.height))
    # Of inks, black: its brightness.
    channel = block.convert("YCbCr").getchannel("Y") if image.mode == "RGB" else block.split()[-1]
    return int(np.ptp(np.asarray(channel))) <= _ROUNDING


def _checksum(image: Image.Image) -> int:
    checksum = 0
    rows = max(1, limits.BAND_PIXELS // image.width)
    for top in range(0, image.height, rows):
        checksum = zlib.crc32(image.crop((0, top, image.width, min(top + rows, image.height))).tobytes(), checksum)
    return checksum
