"""PNG files: what Pillow needs of them to find the pixels, and what is read of the rest.

Pillow refuses a file whose text or profile is damaged or large; so it gets neither. Source: PNG (third edition),
sections 5 and 11.
"""

import functools
import io
import struct
import zlib
from collections.abc import Iterator

from PIL import Image, PngImagePlugin

from thinwire.errors import InvalidImageError
from thinwire.images.colour import SIXTEEN_BITS, with_clear
from thinwire.images.limits import MAX_PARTS, MAX_PROFILE_BYTES, MAX_TEXT_BYTES
from thinwire.images.reading import Opened, inflate, orientation_of

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_END = bytes.fromhex("0000000049454e44ae426082")
# Text that may hold an orientation: XMP, and EXIF as ImageMagick writes it.
_RAW_PROFILES = (b"Raw profile type exif\0", b"Raw profile type APP1\0")
_TEXTS = {b"iTXt": (b"XML:com.adobe.xmp\0",), b"tEXt": _RAW_PROFILES, b"zTXt": _RAW_PROFILES}
# Samples of a pixel by colour type, for those that may have a clear colour.
_CLEAR_SAMPLES = {0: 1, 2: 3}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Of each pass of an interlaced picture: its first column and row, and how far apart they are.
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
# So many bytes are inflated at once: at most 64 MiB come of one piece.
_PACKED, _INFLATED = 2**16, 2**20


def open_png(data: bytes) -> Opened:
    """Read a file's header; the pixels are parted from the metadata.

    Raises:
        InvalidImageError: a chunk is missing that the pixels need, or one is there that nobody knows.
    """
    chunks: dict[bytes, slice] = {}
    texts: dict[bytes, bytes] = {}
    first = last = 0
    at = len(SIGNATURE)
    for _ in range(MAX_PARTS):
        if at + 8 > len(data):
            break
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, at + 8 + length
        if not kind.isalpha() or kind == b"IEND":
            break
        if kind == b"IDAT":
            # Pixels are in chunks that follow one another; others than the first run of them are none.
            if last in (0, at):
                first, last = first or at, end + 4
        elif end > len(data):
            break
        elif kind in (b"IHDR", b"PLTE", b"tRNS"):
            chunks.setdefault(kind, slice(at, end + 4))
        elif kind in (b"eXIf", b"iCCP") or data.startswith(_TEXTS.get(kind, ()), start):
            # The first of each: inflating them takes time.
            texts.setdefault(kind, data[start:end])
        elif kind[:1].isupper():
            raise InvalidImageError(f"PNG with a critical chunk {kind.decode()}, which is not of the standard")
        at = end + 4
    else:
        raise InvalidImageError(f"PNG of more than {MAX_PARTS} chunks")
    if b"IHDR" not in chunks or not last:
        raise InvalidImageError("PNG without a header or without pixels")
    bits, colour = struct.unpack_from("BB", data.ljust(34), chunks[b"IHDR"].start + 16)
    if colour == 3 and b"PLTE" not in chunks:
        raise InvalidImageError("PNG of a palette's colours without a palette")
    transparency = data[chunks[b"tRNS"]][8:-4] if b"tRNS" in chunks else b""
    samples = _CLEAR_SAMPLES.get(colour, 0)
    if colour != 3 and len(transparency) != 2 * samples:
        transparency = b""
    kept = [b"IHDR", b"PLTE"] if not transparency else [b"IHDR", b"PLTE", b"tRNS"]
    pieces = [SIGNATURE, *(data[chunks[kind]] for kind in kept if kind in chunks), data[first:last]]
    if last <= len(data):
        pieces.append(_END)
    clear = struct.unpack(f">{samples}H", transparency) if samples and transparency else ()
    if clear and bits == 16 and colour == 2:
        raise InvalidImageError("PNG of 16-bit RGB with a clear colour: of 16 bits 8 are left, which do not tell it")
    file = b"".join(pieces)
    image = PngImagePlugin.PngImageFile(io.BytesIO(file))
    if clear and 1 < bits <= 8 and colour == 0:
        # Pillow scales the samples, and not the one that is clear.
        most = (1 << bits) - 1
        image.info["transparency"] = (clear[0] & most) * 255 // most
    grey = with_clear(SIXTEEN_BITS, clear) if image.mode.startswith("I;16") else None
    return Opened(image, *_metadata(texts), grey, functools.partial(_whole, file))


def _metadata(texts: dict[bytes, bytes]) -> tuple[int, bytes]:
    """The orientation, and the colour profile."""
    exif = (texts.get(b"eXIf", b""), *(_raw_profile(kind, texts.get(kind, b"")) for kind in (b"zTXt", b"tEXt")))
    packed = texts.get(b"iCCP", b"").partition(b"\0")[2][1:]
    return orientation_of(exif, [_xmp(texts.get(b"iTXt", b""))]), inflate(packed, MAX_PROFILE_BYTES)


def _raw_profile(kind: bytes, body: bytes) -> bytes:
    """EXIF as ImageMagick writes it into text: three lines of a head, then hexadecimal digits."""
    text = body.partition(b"\0")[2]
    if kind == b"zTXt":
        text = inflate(text[1:], MAX_TEXT_BYTES)
    try:
        return bytes.fromhex("".join(text[:MAX_TEXT_BYTES].decode("ascii").split("\n")[3:]))
    except ValueError:
        return b""


def _xmp(body: bytes) -> bytes:
    rest = body.partition(b"\0")[2]
    text = rest[2:].split(b"\0", 2)[-1]
    return inflate(text, MAX_TEXT_BYTES) if rest[:1] == b"\1" else text


def _whole(data: bytes, image: Image.Image) -> Image.Image:
    """Tell whether all pixels of a picture were in its file: Pillow leaves the rest of its rows zero.

    Args:
        data: the file, without its metadata.
        image: decoded from it.

    Returns:
        the image.

    Raises:
        InvalidImageError: some were not.
    """
    width, height, bits, colour, interlace = struct.unpack_from(">IIBB2xB", data, 16)
    last_row = image.crop((0, height - 1, width, height))
    # The last row is not the last that comes of an interlaced picture.
    if not interlace and last_row.tobytes().strip(b"\0"):
        return image
    needed = 0
    for left, top, across, down in _ADAM7 if interlace else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            needed += rows * (1 + (columns * _SAMPLES[colour] * bits + 7) // 8)
    there = 0
    for length in _inflated(data):
        there += length
        if there >= needed:
            return image
    raise InvalidImageError(f"PNG of which pixels are missing: {there} bytes of them, where its size needs {needed}")


def _inflated(data: bytes) -> Iterator[int]:
    """How many bytes each piece of the pixels inflates to."""
    stream = zlib.decompressobj()
    at = len(SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start, end = at + 8, min(at + 8 + length, len(data))
        for piece in range(start, end if kind == b"IDAT" else start, _PACKED):
            packed = data[piece : min(piece + _PACKED, end)]
            while packed and not stream.eof:
                yield len(stream.decompress(packed, _INFLATED))
                packed = stream.unconsumed_tail
        at += 12 + length
    # Few: what a full piece kept back.
    yield len(stream.flush())
