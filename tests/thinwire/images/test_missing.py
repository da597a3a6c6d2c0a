"""Pixels that are missing from files that end as if they were whole, and whole files that end as if they were not."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.thinwire.images.files import chunk, png, tiff
from tests.thinwire.images.making import saved
from thinwire.errors import InvalidImageError
from thinwire.images import decode
from thinwire.images.decoding import open_image
from thinwire.images.reading import refusing

END = b"\xff\xd9"
SIZES = [(1, 1), (8, 8), (16, 16), (17, 33), (300, 250), (321, 257)]
SAMPLING = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}
MISSING = "^JPEG of which pixels are missing"


def noise(width, height):
    return Image.fromarray(np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8))


def photograph(width, height):
    """Gradients, with edges down to its last row."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([x * 2 % 256, (x + y) % 256, (x * y // 64) % 256], axis=-1).astype(np.uint8))


def half_flat(width, height):
    image = noise(width, height)
    image.paste("white", (0, height // 2, width, height))
    return image


PICTURES = {
    "white": lambda *size: Image.new("RGB", size, "white"),
    "black": lambda *size: Image.new("RGB", size, "black"),
    "grey": lambda *size: Image.new("RGB", size, (128, 128, 128)),
    "half flat": half_flat,
    "noise": noise,
}
WAYS = {
    **{name: ("RGB", {"subsampling": code}) for name, code in SAMPLING.items()},
    "no YCbCr": ("RGB", {"keep_rgb": True}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "restarts by rows": ("RGB", {"restart_marker_rows": 1}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive, grey": ("L", {"progressive": True}),
}


def jpeg(image, way, **more):
    mode, options = WAYS[way]
    return saved(image.convert(mode), "JPEG", **options, **more)


def scan_data(data):
    """Where the data of the first scan are."""
    at = data.index(b"\xff\xda")
    return at + 2 + struct.unpack_from(">H", data, at + 2)[0]


def pixels(data):
    return np.asarray(decode(data))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("picture", PICTURES)
def test_a_whole_jpeg_is_answered_however_it_ends(way, picture):
    for size in SIZES:
        data = jpeg(PICTURES[picture](*size), way)
        image = open_image(data).image
        expected = np.asarray(image if image.mode == "CMYK" else image.convert("RGB"))
        if image.mode != "CMYK":
            np.testing.assert_array_equal(pixels(data), expected)
        for ending in (END + b"\0" * 40, END + data, END + b"trailer", b"\xff", b"\xff" + END, data, b""):
            np.testing.assert_array_equal(pixels(data[:-2] + ending), pixels(data), str((size, ending[:9])))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ending", [END, END + b"\0\0", b"", b"\0" * 20, END + b"\xff\xd8\xff\xe0"], ids=repr)
def test_a_jpeg_that_lacks_a_part_is_refused(way, ending):
    for size in ((40, 50), (300, 250), (321, 257)):
        for image in (photograph(*size), noise(*size)):
            data = jpeg(image, way)
            start = scan_data(data)
            for share in (0.1, 0.5, 0.55):
                with pytest.raises(InvalidImageError, match=MISSING):
                    decode(data[: start + int(share * (len(data) - start))] + ending)


@pytest.mark.parametrize("restarts", [0, 1, 4])
@pytest.mark.parametrize("optimize", [False, True])
def test_a_flat_jpeg_that_lacks_half_is_refused(restarts, optimize):
    for picture, size in itertools.product(("white", "black", "half flat"), ((300, 250), (321, 257))):
        image = PICTURES[picture](*size)
        data = saved(image, "JPEG", restart_marker_blocks=restarts, optimize=optimize)
        start = scan_data(data)
        with pytest.raises(InvalidImageError, match=MISSING):
            decode(data[: (start + len(data)) // 2] + END)


def test_a_jpeg_that_ends_with_an_interval_of_restarts_is_refused():
    data = jpeg(photograph(300, 250), "restarts")
    for number in (0, 3, 7):
        at = data.index(bytes([0xFF, 0xD0 + number]), len(data) // 2)
        for end in (at, at + 1, at + 2):
            with pytest.raises(InvalidImageError, match=MISSING):
                decode(data[:end] + END)


def progressive_scans(data):
    """Where the header of each scan is."""
    return [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]


@pytest.mark.parametrize("ending", [END, b""], ids=["EOI", "no EOI"])
def test_a_progressive_jpeg_of_which_scans_are_missing_is_refused(ending):
    data = jpeg(photograph(321, 257), "progressive")
    starts = progressive_scans(data)
    assert len(starts) > 5
    for at in starts[1:]:
        with pytest.raises(InvalidImageError, match="scans do not say all of every component"):
            decode(data[:at] + ending)


def apart(size):
    """A baseline JPEG with a scan of each component: those of three grey pictures."""
    planes = [saved(plane, "JPEG") for plane in photograph(*size).split()]
    first = planes[0]
    at = first.index(b"\xff\xc0")
    frame = first[at + 4 : at + 10][:5] + b"\3" + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3))
    head = first[:at] + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame
    head += first[at + 13 : first.index(b"\xff\xda")]
    parts = []
    for number, plane in enumerate(planes, 1):
        parts.append(b"\xff\xda\0\x08\1" + bytes([number, 0, 0, 63, 0]) + plane[scan_data(plane) : -2])
    return head, parts


def test_a_jpeg_of_several_baseline_scans_may_lack_none_of_them():
    head, parts = apart((321, 257))
    whole = head + b"".join(parts)
    expected = np.asarray(Image.open(io.BytesIO(whole + END)))
    for data in (whole, whole + END):
        np.testing.assert_array_equal(pixels(data), expected)
    for end in (len(head + parts[0]), len(head + parts[0] + parts[1]), len(whole) - len(parts[2]) // 2, len(whole) - 9):
        for ending in (END, b""):
            with pytest.raises(InvalidImageError, match=MISSING):
                decode(whole[:end] + ending)


def test_a_picture_that_does_not_end_flat_is_decoded_once(monkeypatch):
    monkeypatch.setattr("thinwire.images.jpeg._checksum", lambda _: pytest.fail("looked at twice"))
    for way in WAYS:
        if way != "CMYK":
            decode(jpeg(noise(320, 256), way))


# Colour type and bits of a sample, and how many samples there are.
PNGS = [(0, 1, 1), (0, 2, 1), (0, 8, 1), (0, 16, 1), (2, 8, 3), (2, 16, 3), (3, 4, 1), (4, 8, 2), (6, 8, 4), (6, 16, 4)]


def with_rows(data, change):
    """The same PNG with other bytes of pixels."""
    at = data.index(b"IDAT") - 4
    (length,) = struct.unpack_from(">I", data, at)
    packed = zlib.compress(change(zlib.decompress(data[at + 8 : at + 8 + length])))
    cut = len(packed) // 2
    pixels_of_it = chunk(b"IDAT", packed[:cut]) + chunk(b"IDAT", b"") + chunk(b"IDAT", packed[cut:])
    return data[:at] + pixels_of_it + data[at + 12 + length :]


def made(colour, bits, count, size, most, interlaced):
    width, height = size
    samples = np.random.default_rng(4).integers(0, most, (height, width, count), dtype=np.uint16, endpoint=True)
    chunks = [(b"PLTE", bytes(range(48)))] if colour == 3 else []
    return png(samples, colour, bits, chunks=chunks, interlaced=interlaced)


@pytest.mark.parametrize(("colour", "bits", "count"), PNGS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_a_png_may_not_lack_a_part_of_its_rows(colour, bits, count, interlaced):
    for size, most in itertools.product(((1, 1), (1, 9), (9, 1), (3, 5), (23, 20), (17, 21)), (0, 2**bits - 1)):
        data = made(colour, bits, count, size, most, interlaced)
        np.testing.assert_array_equal(pixels(with_rows(data, lambda rows: rows + bytes(99))), pixels(data))
        for kept in (lambda rows: rows[:-1], lambda rows: rows[: len(rows) // 2], lambda _: b""):
            with pytest.raises(InvalidImageError, match=r"^PNG .*pixels are missing: "):
                decode(with_rows(data, kept))
        # Pillow tells parts of rows, not rows. The last ones are as long where a picture is interlaced.
        row = 1 + (size[0] * count * bits + 7) // 8
        for rows in range(1, size[1] // 2 + 1 if size[1] > 1 else 1):
            with pytest.raises(InvalidImageError, match=r"^PNG of which pixels are missing: \d+ bytes of them"):
                decode(with_rows(data, lambda all_rows, lost=rows * row: all_rows[:-lost]))


def test_a_large_black_png_is_whole_or_not():
    data = saved(Image.new("L", (2000, 3000)), "PNG", compress_level=9)
    assert pixels(data).max() == 0
    with pytest.raises(InvalidImageError, match="6000999 bytes of them, where its size needs 6003000"):
        decode(with_rows(data, lambda rows: rows[:-2001]))


def test_what_pillow_says_in_numbers_is_said_in_words():
    rgb = np.asarray(noise(23, 20))
    data = bytearray(tiff(rgb, 2, compression=8))
    data[40:60] = bytes(20)
    with pytest.raises(InvalidImageError, match=r"^TIFF of 3 x 8-bit .*, is not decoded: it is damaged, or coded in"):
        decode(bytes(data))
    with pytest.raises(InvalidImageError, match=r"compression 34712, is not decoded: it is damaged, or coded in"):
        decode(tiff(rgb, 2, tags=[(259, 3, [34712])]))
    with pytest.raises(InvalidImageError, match=r"^GIF is not decoded: pixels are missing: its data are cut off$"):
        decode(saved(noise(23, 20).quantize(16), "GIF")[:-40])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (struct.error("unpack requires a buffer of 4 bytes"), "its structure is damaged or cut off"),
        (KeyError("strange key"), "its structure is damaged or cut off"),
        (OSError("decoder error -2"), "it is damaged, or coded in a way that is not supported"),
        (OSError(), "it is damaged, or coded in a way that is not supported"),
        (OSError("cannot handle 12-bit layers"), "cannot handle 12-bit layers"),
    ],
)
def test_a_refusal_names_the_format_and_a_reason_in_words(error, reason):
    with pytest.raises(InvalidImageError, match=f"^JPEG is not decoded: {reason}$"), refusing("JPEG"):
        raise error
