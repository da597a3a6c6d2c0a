"""Metadata that are bombs, and pixels that are not there."""

import contextlib
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.thinwire.images.files import chunk, png, tiff
from tests.thinwire.images.making import saved, whole
from tests.thinwire.images.metadata_cases import segment
from thinwire.errors import InvalidImageError, ThinwireError
from thinwire.images import decode

MIB = 2**20
RGB = whole("u1", 3)
ZEROS = zlib.compress(bytes(50 * MIB), 1)


def repeated(made, count):
    """A PNG with a chunk many times in front of its pixels."""
    plain = png(RGB, 2)
    return plain[:33] + made * count + plain[33:]


def overlapping(order, big):
    """A TIFF each of whose tags takes all of the file for its values."""
    tags = [(tag, 1, [0]) for tag in (292, 293, 332, 347, *range(512, 522), 529, 531, 532)]
    data = bytearray(tiff(RGB, 2, order, big=big, tags=tags))
    data += bytes(2 * MIB)
    entry, number, place = (20, "Q", 4) if big else (12, "I", 4)
    (start,) = struct.unpack_from(order + number, data, 8 if big else 4)
    count = struct.unpack_from(order + ("Q" if big else "H"), data, start)[0]
    for index in range(count):
        at = start + (8 if big else 2) + entry * index
        if struct.unpack_from(order + "H", data, at)[0] in dict.fromkeys(tag for tag, _, _ in tags):
            struct.pack_into(order + 2 * number, data, at + place, 2 * MIB, 0)
    return bytes(data)


JPEG = saved(Image.fromarray(RGB), "JPEG")
BOMBS = {
    "a profile of zeros": png(RGB, 2, chunks=[(b"iCCP", b"p\0\0" + ZEROS)]),
    "text of zeros": png(RGB, 2, chunks=[(b"zTXt", b"Comment\0\0" + ZEROS)]),
    "XMP of zeros": png(RGB, 2, chunks=[(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + ZEROS)]),
    "EXIF of zeros": png(RGB, 2, chunks=[(b"zTXt", b"Raw profile type exif\0\0" + ZEROS)]),
    "a hundred profiles": repeated(chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(4 * MIB))), 100),
    "empty chunks": repeated(chunk(b"prVt", b""), 20_000),
    "empty text": repeated(chunk(b"tEXt", b""), 20_000),
    "empty pixels": repeated(chunk(b"IDAT", b""), 20_000),
    "empty segments": JPEG[:2] + segment(0xFE, b"") * 20_000 + JPEG[2:],
    "segments of profiles": JPEG[:2] + segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(60_000)) * 50 + JPEG[2:],
    **{f"values that overlap {order} {big}": overlapping(order, big) for order in "<>" for big in (False, True)},
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs_in_metadata_do_not_go_off(bomb):
    data = BOMBS[bomb]
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidImageError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * MIB + 3 * len(data)


@pytest.mark.parametrize(
    "bomb", ["a profile of zeros", "text of zeros", "XMP of zeros", "EXIF of zeros", "empty segments"]
)
def test_the_picture_beside_a_bomb_is_answered(bomb):
    plain = JPEG if bomb == "empty segments" else png(RGB, 2)
    np.testing.assert_array_equal(np.asarray(decode(BOMBS[bomb])), np.asarray(decode(plain)))


def test_more_parts_than_a_picture_has_are_refused():
    with pytest.raises(InvalidImageError, match="PNG of more than 100000 chunks"):
        decode(repeated(chunk(b"prVt", b""), 100_001))
    with pytest.raises(InvalidImageError, match="JPEG of more than 100000 segments"):
        decode(JPEG[:2] + segment(0xFE, b"") * 100_001 + JPEG[2:])
    with pytest.raises(InvalidImageError, match="WebP of more than 100000 chunks"):
        decode(b"RIFF\xff\xff\xff\0WEBP" + b"prVt\0\0\0\0" * 100_001)


def with_counts(change, **options):
    """A TIFF of five strips whose offsets and lengths are others."""
    plain = tiff(RGB, 2, strip=4, **options)
    (start,) = struct.unpack_from("<I", plain, 4)
    entries = {struct.unpack_from("<H", plain, at)[0]: at for at in range(start + 2, start + 2 + 12 * plain[start], 12)}
    places = [struct.unpack_from("<I", plain, entries[tag] + 8)[0] for tag in (273, 279)]
    offsets, counts = (list(struct.unpack_from("<5I", plain, place)) for place in places)
    change(offsets, counts)
    return tiff(RGB, 2, strip=4, **options, tags=[(273, 4, offsets), (279, 4, counts)])


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("4 strips or tiles, where the size needs 5", lambda offsets, counts: (offsets.pop(), counts.pop())),
        ("left out", lambda offsets, counts: offsets.__setitem__(2, 0)),
        ("left out", lambda offsets, counts: counts.__setitem__(2, 0)),
        ("cut off", lambda offsets, counts: offsets.__setitem__(4, 10_000)),
    ],
)
def test_strips_that_are_missing_are_told(reason, change, compression):
    with pytest.raises(InvalidImageError, match=rf"TIFF of 3 x 8-bit unsigned samples, RGB, .*{reason}"):
        decode(with_counts(change, compression=compression))


@pytest.mark.parametrize("mode", ["1", "L", "I;16", "F", "RGB", "CMYK", "LAB"])
@pytest.mark.parametrize("strip_size", [200, 10_000])
def test_a_tiff_that_ends_with_its_pixels_may_not_lack_one_of_them(mode, strip_size):
    # Pillow's writer puts the directory in front.
    data = saved(Image.new(mode, (23, 20)), "TIFF", strip_size=strip_size)
    assert decode(data).size == (23, 20)
    with pytest.raises(InvalidImageError, match="cut off"):
        decode(data[:-1])


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_what_is_cut_behind_the_pixels_is_no_loss(form):
    exif = Image.Exif()
    exif[0x010E] = "x" * 300
    data = saved(Image.fromarray(RGB), form, exif=exif, **({"lossless": True} if form == "WEBP" else {}))
    if form == "PNG":
        data = png(RGB, 2, after=[(b"eXIf", bytes(300))])
    for lost in (1, 13, 200):
        np.testing.assert_array_equal(np.asarray(decode(data[:-lost])), RGB)


def test_mutated_metadata_end_in_a_picture_or_an_error_of_ours():
    for data in (tiff(whole("i2"), 0, ">", compression=8), tiff(whole("f4"), 1, big=True), png(whole("u2"), 0, 16)):
        for at in range(len(data) - 300, len(data)):
            for byte in (0, 1, 0x7F, 0xFF):
                with contextlib.suppress(ThinwireError):
                    assert decode(data[:at] + bytes([byte]) + data[at + 1 :]).mode == "RGB"
