"""Sound pictures with metadata of every kind, whole and broken, and what these may do to the pixels."""

import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.thinwire.images import profiles
from tests.thinwire.images.files import bmp, exif, png, tiff
from tests.thinwire.images.making import saved, smooth, whole

# A quarter turn clockwise: rows become columns from the right.
TURNED = 6
ORIENTATION = (274, 3, 1, struct.pack(">HH", TURNED, 0))
# A field whose value would be far behind the end of the block.
BEYOND = (271, 2, 70_000, struct.pack(">I", 4_000_000))
WRONG_TYPE = (282, 2, 4, b"abc\0")
UNKNOWN_TYPE = (305, 99, 1, bytes(4))
SUB_DIRECTORY = (34665, 4, 1, struct.pack(">I", 4_000_000))
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'

EXIF = {
    "EXIF with an orientation": (exif(ORIENTATION), True),
    "EXIF, little-endian, with an orientation": (exif((274, 3, 1, struct.pack("<HH", TURNED, 0)), order="<"), True),
    "EXIF with an orientation of 32 bits": (exif((274, 4, 1, struct.pack(">I", TURNED))), True),
    "EXIF whose orientation is behind a field that lies": (exif(BEYOND, ORIENTATION), True),
    "EXIF whose orientation is beside fields of wrong types": (exif(ORIENTATION, WRONG_TYPE, UNKNOWN_TYPE), True),
    "EXIF whose second directory is missing": (exif(ORIENTATION, SUB_DIRECTORY), True),
    "EXIF that is cut behind its orientation": (exif(ORIENTATION, WRONG_TYPE)[:24], True),
    "EXIF whose orientation is text": (exif((274, 2, 2, b"6\0\0\0")), False),
    "EXIF whose orientation is 0": (exif((274, 3, 1, bytes(4))), False),
    "EXIF whose orientation is 9": (exif((274, 3, 1, struct.pack(">HH", 9, 0))), False),
    "EXIF that claims 65,535 fields": (exif(WRONG_TYPE)[:8] + b"\xff\xff" + bytes(20), False),
    "EXIF whose directory is far away": (b"MM\0*\xff\xff\xff\xf0" + bytes(20), False),
    "EXIF that is noise": (b"\x93\x11unreadable" * 9, False),
    "EXIF of one byte": (b"M", False),
}


class Case(NamedTuple):
    """A file, and what its metadata do.

    Attributes:
        form: the format.
        metadata: of what kind.
        data: the file.
        plain: the same without.
        effect: "ignored", "turned" or "converted".
    """

    form: str
    metadata: str
    data: bytes
    plain: bytes
    effect: str


RGB = whole("u1", 3)
LARGE = np.random.default_rng(5).integers(32, 127, 1_500_000, dtype=np.uint8).tobytes()


def jpeg_with(*segments):
    plain = saved(Image.fromarray(smooth()), "JPEG", quality=95)
    return plain[:2] + b"".join(segments) + plain[2:], plain


def segment(marker, body):
    return struct.pack(">BBH", 0xFF, marker, 2 + len(body)) + body


def jpeg_cases():
    for name, (block, turns) in EXIF.items():
        yield Case("JPEG", name, *jpeg_with(segment(0xE1, b"Exif\0\0" + block)), "turned" if turns else "ignored")
    for name, marker, body in (
        ("JFIF segment that is short", 0xE0, b"JFIF\0"),
        ("Adobe segment that is short", 0xEE, b"Adobe"),
        ("Photoshop segment that is cut", 0xED, b"Photoshop 3.0\x008BIM"),
        ("MPF segment that is noise", 0xE2, b"MPF\0" + b"\xff" * 9),
        ("colour profile's segment that is empty", 0xE2, b"ICC_PROFILE\0"),
        ("comment", 0xFE, bytes(range(256))),
    ):
        yield Case("JPEG", name, *jpeg_with(segment(marker, body)), "ignored")
    yield Case(
        "JPEG", "XMP with an orientation", *jpeg_with(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP)), "turned"
    )
    xmp = b"http://ns.adobe.com/xap/1.0/\0" + XMP.replace(b'"6"', b'"3"')
    both = jpeg_with(segment(0xE1, xmp), segment(0xE1, b"Exif\0\0" + exif(ORIENTATION)))
    yield Case("JPEG", "EXIF and XMP that disagree: EXIF", *both, "turned")
    plain = saved(Image.fromarray(smooth()), "JPEG", quality=95)
    data = saved(Image.fromarray(smooth()), "JPEG", quality=95, icc_profile=profiles.wide_rgb())
    yield Case("JPEG", "colour profile", data, plain, "converted")


def png_cases():
    plain = png(RGB, 2)
    for name, (block, turns) in EXIF.items():
        data = png(RGB, 2, chunks=[(b"eXIf", block)])
        yield Case("PNG", name, data, plain, "turned" if turns else "ignored")
    yield Case("PNG", "EXIF behind the pixels", png(RGB, 2, after=[(b"eXIf", exif(ORIENTATION))]), plain, "turned")
    digits = b"\nexif\n%8d\n" % len(exif(ORIENTATION)) + exif(ORIENTATION).hex().encode() + b"\n"
    raw = (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(digits))
    yield Case("PNG", "EXIF as ImageMagick's text", png(RGB, 2, chunks=[raw]), plain, "turned")
    raw = (b"tEXt", b"Raw profile type exif\0" + digits[:30] + b"?!")
    yield Case("PNG", "EXIF as ImageMagick's text, damaged", png(RGB, 2, chunks=[raw]), plain, "ignored")
    key = b"XML:com.adobe.xmp\0"
    yield Case(
        "PNG", "XMP with an orientation", png(RGB, 2, chunks=[(b"iTXt", key + b"\0\0\0\0" + XMP)]), plain, "turned"
    )
    packed = (b"iTXt", key + b"\1\0\0\0" + zlib.compress(XMP))
    yield Case("PNG", "XMP with an orientation, compressed", png(RGB, 2, chunks=[packed]), plain, "turned")
    for name, made in (
        ("compressed text of more than 1 MiB", (b"zTXt", b"Comment\0\0" + zlib.compress(LARGE))),
        ("compressed XMP of more than 1 MiB", (b"iTXt", key + b"\1\0\0\0" + zlib.compress(b"<x>" + LARGE))),
        ("text of more than 1 MiB", (b"tEXt", b"Comment\0" + LARGE)),
        ("text of an unknown compression", (b"zTXt", b"Comment\0\7abc")),
        ("text that is damaged", (b"zTXt", b"Comment\0\0" + b"\x78\x9c\xff\xff\xff")),
        ("text without a key", (b"tEXt", b"")),
        ("colour profile that is damaged", (b"iCCP", b"p\0\0" + b"\x78\x9c\xff\xff\xff")),
        ("colour profile of an unknown compression", (b"iCCP", b"p\0\7abc")),
        ("colour profile without a name", (b"iCCP", b"")),
        (
            "colour profile of more than 4 MiB",
            (b"iCCP", b"p\0\0" + zlib.compress(profiles.wide_rgb(padding=5_000_000))),
        ),
        ("gamma that is short", (b"gAMA", b"")),
        ("chromaticities that are short", (b"cHRM", b"12")),
        ("density that is short", (b"pHYs", b"12")),
        ("rendering intent that is missing", (b"sRGB", b"")),
        ("animation that is cut", (b"acTL", b"12")),
        ("private chunk", (b"prVt", bytes(99))),
    ):
        yield Case(
            "PNG",
            name,
            png(RGB, 2, chunks=[made]),
            plain,
            "ignored",
        )
    damaged = bytearray(png(RGB, 2, chunks=[(b"tEXt", b"Comment\0hello")]))
    damaged[damaged.index(b"hello")] ^= 1
    yield Case("PNG", "text with a wrong checksum", bytes(damaged), plain, "ignored")
    for name, padding in (("", 0), (" of more than 1 MiB", 2_000_000)):
        made = (b"iCCP", b"wide\0\0" + zlib.compress(profiles.wide_rgb(padding=padding)))
        yield Case("PNG", f"colour profile{name}", png(RGB, 2, chunks=[made]), plain, "converted")
    yield Case(
        "PNG", "cut behind the pixels", png(RGB, 2, after=[(b"tEXt", b"Comment\0" + bytes(99))])[:-80], plain, "ignored"
    )


def webp(*chunks):
    """An extended file: these chunks behind the pixels, but a profile in front."""
    simple = saved(Image.fromarray(RGB), "WEBP", lossless=True)
    framed = [(kind, kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)) for kind, body in chunks]
    flags = sum({b"ICCP": 0x20, b"EXIF": 0x08, b"XMP ": 0x04}.get(kind, 0) for kind, _ in framed)
    size = struct.pack("<I", RGB.shape[1] - 1)[:3] + struct.pack("<I", RGB.shape[0] - 1)[:3]
    body = b"VP8X" + struct.pack("<II", 10, flags) + size
    body += b"".join(made for kind, made in framed if kind == b"ICCP")
    body += simple[12:] + b"".join(made for kind, made in framed if kind != b"ICCP")
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def webp_cases():
    plain = saved(Image.fromarray(RGB), "WEBP", lossless=True)
    for name, (block, turns) in EXIF.items():
        yield Case("WebP", name, webp((b"EXIF", block)), plain, "turned" if turns else "ignored")
    data = webp((b"EXIF", b"Exif\0\0" + exif(ORIENTATION)))
    yield Case("WebP", "EXIF with JPEG's head", data, plain, "turned")
    yield Case("WebP", "XMP with an orientation", webp((b"XMP ", XMP)), plain, "turned")
    yield Case(
        "WebP", "EXIF that is cut with the file", webp((b"EXIF", exif(ORIENTATION) + bytes(99)))[:-80], plain, "turned"
    )
    yield Case("WebP", "colour profile", webp((b"ICCP", profiles.wide_rgb())), plain, "converted")
    yield Case("WebP", "colour profile that is noise", webp((b"ICCP", LARGE[:999])), plain, "ignored")


def tiff_cases():
    plain = tiff(RGB, 2)
    for order in "<>":
        end = "little" if order == "<" else "big"
        for name, tags, effect in (
            ("orientation", [(274, 3, [TURNED])], "turned"),
            ("orientation of 9", [(274, 3, [9])], "ignored"),
            ("XMP with an orientation", [(700, 1, XMP)], "turned"),
            ("XMP of a wrong type", [(700, 3, [1, 2, 3])], "ignored"),
            ("EXIF directory that is missing", [(34665, 4, [4_000_000])], "ignored"),
            (
                "orientation, beside an EXIF directory that is missing",
                [(274, 3, [TURNED]), (34665, 4, [4_000_000])],
                "turned",
            ),
            ("GPS directory of a wrong type", [(34853, 2, b"nowhere\0")], "ignored"),
            ("resolution of a wrong type", [(282, 2, b"abc\0"), (283, 2, b"abc\0"), (296, 2, b"inches\0")], "ignored"),
            ("colour profile", [(34675, 7, profiles.wide_rgb())], "converted"),
            ("colour profile that is noise", [(34675, 7, LARGE[:999])], "ignored"),
            ("colour profile of a wrong type", [(34675, 4, [1, 2, 3])], "ignored"),
            ("private tags", [(50_838, 4, [1] * 99), (65_000, 77, b"1234")], "ignored"),
        ):
            yield Case("TIFF", f"{name}, {end}-endian", tiff(RGB, 2, order, tags=tags), plain, effect)


def bmp_gif_cases():
    rows = b"".join(row[:, ::-1].tobytes() + bytes(-3 * len(row) % 4) for row in RGB[::-1])
    size = (RGB.shape[1], RGB.shape[0], 24)
    plain = bmp(rows, *size)
    yield Case("BMP", "colour profile", bmp(rows, *size, header=124, profile=profiles.wide_rgb()), plain, "converted")
    data = bmp(rows, *size, header=124, profile=profiles.wide_rgb())
    yield Case("BMP", "colour profile that is cut off", data[:-300], plain, "ignored")
    grey = Image.fromarray(RGB[..., 0])
    plain = saved(grey, "GIF")
    yield Case("GIF", "comment", saved(grey, "GIF", comment=bytes(range(200))), plain, "ignored")
    extension = b"!\xff\x0bICCRGBG1012" + b"\x05noise\0"
    yield Case("GIF", "colour profile", plain[:781] + extension + plain[781:], plain, "ignored")


CASES = [*jpeg_cases(), *png_cases(), *webp_cases(), *tiff_cases(), *bmp_gif_cases()]
