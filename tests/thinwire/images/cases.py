"""Files of every format, mode and depth that may come, each with what it must look like, or why it is refused."""

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from tests.thinwire.images import references as ref
from tests.thinwire.images.files import bmp, packed, png, tiff

HEIGHT, WIDTH = 20, 23


class Case(NamedTuple):
    """Files that differ in what should make no difference.

    Attributes:
        form: the format.
        samples: what the pixels are.
        files: a file by what it differs in.
        expected: 8-bit RGB as floats, or None where the files are refused.
        tolerance: how far a channel may be away.
        reason: what the refusal must say.
    """

    form: str
    samples: str
    files: dict
    expected: np.ndarray | None = None
    tolerance: float = 1.0
    reason: str = ""


def whole(dtype, *shape):
    """Random samples over the whole range of a type; of floats, 0 to 1."""
    generator = np.random.default_rng(7)
    shape = (HEIGHT, WIDTH, *shape)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    span = np.iinfo(dtype)
    return generator.integers(span.min, span.max, shape, dtype=dtype, endpoint=True)


def some(most, *shape, dtype=np.uint8):
    return np.random.default_rng(8).integers(0, most, (HEIGHT, WIDTH, *shape), dtype=dtype, endpoint=True)


def smooth(channels=3):
    """What JPEG and WebP keep nearly as it is."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    values = np.stack([40 + 180 * x, 200 - 150 * y, 60 + 90 * x * y, 30 + 40 * y], axis=-1)
    return values[..., :channels].round().astype(np.uint8)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


ORDERS = {"little-endian": {"order": "<"}, "big-endian": {"order": ">"}}
PACKINGS = {"raw": {}, "deflate": {"compression": 8}}
LAYOUTS = {"one strip": {}, "strips": {"strip": 7}, "tiles": {"tile": 16}}
PLANES = {"planes together": {}, "planes apart": {"planes": 2}}


def tiffs(samples, photometric, *, orders=ORDERS, packings=PACKINGS, layouts=LAYOUTS, planes=None, **options):
    """A file for each byte order, compression, layout and order of planes."""
    return {
        f"{order}, {packing}, {layout}, {plane}": tiff(samples, photometric, **options, **a, **b, **c, **d)
        for order, a in orders.items()
        for packing, b in packings.items()
        for layout, c in layouts.items()
        for plane, d in (planes or {"planes together": {}}).items()
    }


LITTLE = {"little-endian": {"order": "<"}}
BIG = {"big-endian": {"order": ">"}}
RAW = {"raw": {}}
DEFLATE = {"deflate": {"compression": 8}}
STRIPS = {"one strip": {}, "strips": {"strip": 7}}
INTERPRETATIONS = {"BlackIsZero": 1, "WhiteIsZero": 0}


def tiff_grey():
    for name, photometric in INTERPRETATIONS.items():
        inverted = photometric == 0
        for bits in (1, 2, 4):
            samples, most = some(2**bits - 1), 2**bits - 1
            files = tiffs(samples, photometric, bits=bits, layouts=STRIPS, planes=PLANES)
            files |= {"bits reversed": tiff(samples, photometric, bits=bits, fill=2)}
            yield Case("TIFF", f"grey, {bits} bit, {name}", files, ref.scaled(samples, 0, most, inverted))
        for dtype, title in (
            ("u1", "8 bit"),
            ("i1", "8 bit signed"),
            ("u2", "16 bit"),
            ("i2", "16 bit signed"),
            ("u4", "32 bit"),
            ("i4", "32 bit signed"),
        ):
            samples, span = whole(dtype), np.iinfo(dtype)
            files = tiffs(samples, photometric, planes=PLANES)
            if dtype[0] == "u":
                files |= {"differences": tiff(samples, photometric, compression=8, predictor=2)}
                files |= {"type undefined": tiff(samples, photometric, sample_format=4)}
            files |= {"BigTIFF": tiff(samples, photometric, ">", big=True)}
            yield Case("TIFF", f"grey, {title}, {name}", files, ref.scaled(samples, span.min, span.max, inverted))
        samples = some(4095, dtype=np.uint16)
        files = tiffs(samples, photometric, bits=12, orders=LITTLE, layouts=STRIPS)
        yield Case("TIFF", f"grey, 12 bit, {name}, little-endian", files, ref.scaled(samples, 0, 4095, inverted))
        for dtype, title in (("f2", "16-bit float"), ("f4", "32-bit float")):
            samples = whole(dtype)
            files = tiffs(samples, photometric, planes=PLANES)
            yield Case("TIFF", f"grey, {title}, {name}", files, ref.scaled(samples, 0, 1, inverted))
        samples = -40 + 300 * whole("f4")
        files = tiffs(samples, photometric, tags=[(340, 11, [-40]), (341, 11, [260])])
        expected = ref.scaled(samples, -40, 260, inverted)
        yield Case("TIFF", f"grey, 32-bit float of a range that is told, {name}", files, expected)
        samples = some(4095, dtype=np.uint16)
        files = tiffs(samples, photometric, tags=[(340, 3, [0]), (341, 3, [4095])])
        yield Case(
            "TIFF", f"grey, 16 bit of a range that is told, {name}", files, ref.scaled(samples, 0, 4095, inverted)
        )
        for dtype, title in (("f8", "64-bit float"), ("u8", "64-bit"), ("c8", "complex")):
            samples = np.zeros((HEIGHT, WIDTH), dtype=dtype)
            options = {"sample_format": 6} if dtype == "c8" else {}
            pixels = samples.view("u8") if dtype == "c8" else samples
            files = tiffs(pixels, photometric, **options)
            yield Case(
                "TIFF", f"grey, {title}, {name}", files, reason=f"TIFF of 1 x .*{title.split('-')[-1][:5]}.*{name}"
            )
        files = tiffs(some(4095, dtype=np.uint16), photometric, bits=12, orders=BIG, layouts=STRIPS)
        yield Case("TIFF", f"grey, 12 bit, {name}, big-endian", files, reason=f"1 x 12-bit unsigned samples, {name}")


def tiff_floats():
    samples = np.array([[np.nan, np.inf, -np.inf, 1e30, 0.25, -1], [0.5, 0.5, 0.5, 0.5, 0.75, 1]], dtype="f4")
    expected = ref.grey([[0, 255, 0, 255, 63.75, 0], [127.5, 127.5, 127.5, 127.5, 191.25, 255]])
    yield Case("TIFF", "grey, 32-bit float, half of it NaN, infinite or beyond 0 to 1", tiffs(samples, 1), expected)
    files = tiffs(255 * whole("f4"), 1)
    yield Case(
        "TIFF", "grey, 32-bit float, most of it beyond 0 to 1", files, reason="mode F: most samples .*SMinSample"
    )
    files = tiffs(np.full((4, 4), np.nan, dtype="f4"), 1)
    yield Case("TIFF", "grey, 32-bit float, no numbers", files, reason="mode F: most samples are outside")


def tiff_colours():
    rgb, rgb16 = whole("u1", 3), whole("u2", 3)
    yield Case("TIFF", "RGB, 8 bit", tiffs(rgb, 2, planes=PLANES), rgb * 1.0)
    yield Case("TIFF", "RGB, 16 bit", tiffs(rgb16, 2) | tiffs(rgb16, 2, packings=DEFLATE, planes=PLANES), rgb16 / 257)
    files = tiffs(rgb16, 2, packings=RAW, planes={"planes apart": {"planes": 2}})
    yield Case("TIFF", "RGB, 16 bit, planes apart, uncompressed", files, reason="3 x 16-bit unsigned.*planes apart")
    for dtype, title in (
        ("i1", "8-bit signed"),
        ("i2", "16-bit signed"),
        ("u4", "32-bit unsigned"),
        ("f4", "32-bit float"),
    ):
        files = tiffs(whole(dtype, 3), 2, planes=PLANES)
        yield Case("TIFF", f"RGB, {title}", files, reason=f"3 x {title} samples, RGB")
    for dtype, most, title in (("u1", 255, "8 bit"), ("u2", 65535, "16 bit")):
        rgba = whole(dtype, 4)
        alpha = rgba[..., 3] / most
        expected = ref.over_white(rgba[..., :3] * (255 / most), alpha)
        together = tiffs(rgba, 2, extra=(2,), packings=PACKINGS if dtype == "u1" else DEFLATE, planes=PLANES)
        together |= tiffs(rgba, 2, extra=(2,)) | {"not told": tiff(rgba, 2)}
        yield Case("TIFF", f"RGBA, {title}", together, expected, 2)
        yield Case(
            "TIFF", f"RGB and a sample of nothing, {title}", tiffs(rgba, 2, extra=(0,)), rgba[..., :3] * (255 / most)
        )
        rgba[..., :3] = rgba[..., :3] * alpha[..., None]
        expected = rgba[..., :3] * (255 / most) + 255 * (1 - alpha[..., None])
        yield Case("TIFF", f"RGBA, {title}, premultiplied", tiffs(rgba, 2, extra=(1,)), expected, 3)
    la = whole("u1", 2)
    expected = ref.over_white(ref.grey(la[..., 0]), la[..., 1] / 255)
    yield Case("TIFF", "grey and alpha, 8 bit", tiffs(la, 1, extra=(2,)), expected, 2)
    yield Case("TIFF", "grey and a sample of nothing, 8 bit", tiffs(la, 1, extra=(0,)), ref.grey(la[..., 0]))
    files = tiffs(la, 1, extra=(2,), planes={"planes apart": {"planes": 2}})
    yield Case("TIFF", "grey and alpha, 8 bit, planes apart", files, reason="2 x 8-bit unsigned.*planes apart")
    yield Case("TIFF", "grey and alpha, 16 bit", tiffs(whole("u2", 2), 1, extra=(2,)), reason="2 x 16-bit unsigned")
    la[..., 0] = la[..., 0] * (la[..., 1] / 255)
    expected = ref.grey(la[..., 0] + 255.0 - la[..., 1])
    yield Case("TIFF", "grey and alpha, 8 bit, premultiplied", tiffs(la, 1, extra=(1,)), expected, 3)
    inks, inks16 = whole("u1", 4), whole("u2", 4)
    yield Case("TIFF", "CMYK, 8 bit", tiffs(inks, 5, planes=PLANES), ref.of_cmyk(inks))
    files = tiffs(inks16, 5) | tiffs(inks16, 5, packings=DEFLATE, planes=PLANES)
    yield Case("TIFF", "CMYK, 16 bit", files, ref.of_cmyk(inks16 / 257), 2)
    files = tiffs(whole("u1", 5), 5, extra=(0,))
    yield Case("TIFF", "CMYK and a sample of nothing, 8 bit", files, ref.of_cmyk(whole("u1", 5)[..., :4]))
    yield Case("TIFF", "CMYK and alpha, 8 bit", tiffs(whole("u1", 5), 5, extra=(2,)), reason="5 x 8-bit unsigned.*CMYK")
    ycc = 64 + some(127, 3)
    files = tiffs(ycc, 6, tags=[(530, 3, [1, 1])])
    yield Case("TIFF", "YCbCr, 8 bit", files, ref.of_ycbcr(ycc), 3)
    files = tiffs(ycc, 6, packings=RAW, planes={"planes apart": {"planes": 2}}, tags=[(530, 3, [1, 1])])
    yield Case("TIFF", "YCbCr, 8 bit, planes apart", files, reason="3 x 8-bit unsigned samples, YCbCr.*planes apart")
    half = {"little-endian": tiff(ycc, 6, tags=[(279, 4, [WIDTH * HEIGHT * 3 // 2]), (530, 3, [2, 2])])}
    yield Case(
        "TIFF", "YCbCr, 8 bit, fewer colours than pixels, uncompressed", half, reason="YCbCr.*differences of fewer"
    )
    lab = some(24, 3).astype(int) - 12
    stored = lab * (3, 1, 1) + (160, 0, 0) & 255
    files = tiffs(stored.astype("u1"), 8)
    yield Case("TIFF", "CIELab, 8 bit", files, ref.of_lab((lab * (3, 1, 1) + (160, 0, 0)) * (100 / 255, 1, 1)), 3)
    files = tiffs(stored.astype("u1"), 8, planes={"planes apart": {"planes": 2}})
    yield Case("TIFF", "CIELab, 8 bit, planes apart", files, reason="CIELab.*planes apart")
    yield Case("TIFF", "CIELab, 16 bit", tiffs(whole("u2", 3), 8), reason="3 x 16-bit unsigned samples, CIELab")


def tiff_palettes():
    for bits in (1, 2, 4, 8):
        indices, colours = some(2**bits - 1), whole("u2", 3).reshape(-1, 3)[: 2**bits]
        tags = [(320, 3, colours.T.reshape(-1).tolist())]
        files = tiffs(indices, 3, bits=bits, layouts=STRIPS, planes=PLANES, tags=tags)
        yield Case("TIFF", f"palette, {bits} bit", files, (colours >> 8)[indices] * 1.0)
    colours = some(255, 3).reshape(-1, 3)[:256]
    indices = some(255)
    tags = [(320, 3, colours.T.reshape(-1).tolist())]
    yield Case("TIFF", "palette, 8 bit, its colours of 8 bits", tiffs(indices, 3, tags=tags), colours[indices] * 1.0)
    pair = np.stack([indices, some(255)], axis=-1)
    tags = [(320, 3, (colours.T.reshape(-1).astype(int) * 257).tolist())]
    expected = ref.over_white(colours[indices], pair[..., 1] / 255)
    yield Case("TIFF", "palette and alpha, 8 bit", tiffs(pair, 3, extra=(2,), tags=tags), expected, 2)
    yield Case(
        "TIFF", "palette, 16 bit", tiffs(some(3, dtype="u2"), 3, tags=tags), reason="1 x 16-bit unsigned .*palette"
    )
    files = tiffs(some(255), 3, tags=[(320, 3, [0, 65535] * 3)])
    yield Case("TIFF", "palette, 8 bit, of two colours", files, reason="1 x 8-bit unsigned .*palette.*too few colours")


def tiff_compressions():
    rgb = whole("u1", 3)
    packings = ("tiff_lzw", "packbits", "tiff_deflate", "tiff_adobe_deflate", "lzma", "zstd")
    files = {name: saved(Image.fromarray(rgb), "TIFF", compression=name) for name in packings}
    yield Case("TIFF", "RGB, 8 bit, LZW, PackBits, deflate, LZMA, Zstandard", files, rgb * 1.0)
    grey16 = whole("u2")
    files = {name: saved(Image.fromarray(grey16), "TIFF", compression=name) for name in packings}
    yield Case("TIFF", "grey, 16 bit, LZW, PackBits, deflate, LZMA, Zstandard", files, ref.scaled(grey16, 0, 65535))
    floats = whole("f4")
    files = {name: saved(Image.fromarray(floats), "TIFF", compression=name) for name in packings}
    files["differences"] = saved(Image.fromarray(floats), "TIFF", compression="tiff_lzw", tiffinfo={317: 3})
    yield Case("TIFF", "grey, 32-bit float, LZW, PackBits, deflate, LZMA, Zstandard", files, ref.scaled(floats, 0, 1))
    files = {"": saved(Image.fromarray(smooth()), "TIFF", compression="jpeg", quality=95)}
    yield Case("TIFF", "YCbCr, 8 bit, JPEG", files, smooth() * 1.0, 12)
    files = {"": saved(Image.fromarray(smooth()[..., 0]), "TIFF", compression="jpeg", quality=95)}
    yield Case("TIFF", "grey, 8 bit, JPEG", files, ref.grey(smooth()[..., 0]), 8)
    yield Case("TIFF", "WebP", {"": tiff(rgb, 2, tags=[(259, 3, [50001])])}, reason="decoder error")
    bits = some(1) > 0
    files = {
        name: saved(Image.fromarray(bits), "TIFF", compression=name) for name in ("group3", "group4", "tiff_ccitt")
    }
    yield Case("TIFF", "grey, 1 bit, fax group 3 and 4", files, ref.grey(bits * 255))
    first = Image.fromarray(rgb)
    pages = saved(first, "TIFF", save_all=True, append_images=[Image.new("RGB", (30, 40))])
    yield Case("TIFF", "several pages: the first", {"": pages}, rgb * 1.0)
    yield Case(
        "TIFF", "unknown compression", {"": tiff(rgb, 2, tags=[(259, 3, [34712])])}, reason="3 x 8.*compression 34712"
    )
    yield Case("TIFF", "raw sensor (CFA)", {"": tiff(some(255), 32803)}, reason="photometric interpretation 32803")


ADAM7 = {"": {}, "interlaced": {"interlaced": True}}


def pngs(samples, colour, bits=8, **options):
    return {name: png(samples, colour, bits, **options, **how) for name, how in ADAM7.items()}


def png_cases():
    for bits in (1, 2, 4, 8, 16):
        most = 2**bits - 1
        samples = some(most, dtype=np.uint16)
        clear = int(samples[0, 0])
        expected = ref.scaled(samples, 0, most)
        yield Case("PNG", f"grey, {bits} bit", pngs(samples, 0, bits), expected)
        expected = np.where((samples == clear)[..., None], 255, expected)
        files = pngs(samples, 0, bits, chunks=[(b"tRNS", struct.pack(">H", clear))])
        yield Case("PNG", f"grey, {bits} bit, a clear sample", files, expected)
    for bits in (1, 2, 4, 8):
        indices, colours = some(2**bits - 1), whole("u1", 3).reshape(-1, 3)[: 2**bits]
        shares = (np.arange(2**bits) * 255 // (2**bits - 1)).astype("u1")
        palette = (b"PLTE", colours.tobytes())
        yield Case("PNG", f"palette, {bits} bit", pngs(indices, 3, bits, chunks=[palette]), colours[indices] * 1.0)
        files = pngs(indices, 3, bits, chunks=[palette, (b"tRNS", shares.tobytes())])
        expected = ref.over_white(colours[indices], shares[indices] / 255)
        yield Case("PNG", f"palette, {bits} bit, with shares of alpha", files, expected, 2)
    for bits in (8, 16):
        most, dtype = 2**bits - 1, f"u{bits // 8}"
        rgb, rgba, la = whole(dtype, 3), whole(dtype, 4), whole(dtype, 2)
        yield Case("PNG", f"RGB, {bits} bit", pngs(rgb, 2, bits), rgb * (255 / most))
        expected = ref.over_white(rgba[..., :3] * (255 / most), rgba[..., 3] / most)
        yield Case("PNG", f"RGBA, {bits} bit", pngs(rgba, 6, bits), expected, 2)
        expected = ref.over_white(ref.grey(la[..., 0] * (255 / most)), la[..., 1] / most)
        yield Case("PNG", f"grey and alpha, {bits} bit", pngs(la, 4, bits), expected, 2)
    rgb = whole("u1", 3)
    files = pngs(rgb, 2, chunks=[(b"tRNS", struct.pack(">3H", *rgb[0, 0]))])
    yield Case(
        "PNG", "RGB, 8 bit, a clear colour", files, np.where((rgb == rgb[0, 0]).all(-1)[..., None], 255, rgb * 1.0)
    )
    rgb = whole("u2", 3)
    files = pngs(rgb, 2, 16, chunks=[(b"tRNS", struct.pack(">3H", *rgb[0, 0]))])
    yield Case("PNG", "RGB, 16 bit, a clear colour", files, reason="PNG of 16-bit RGB with a clear colour")
    yield Case(
        "PNG", "palette, 8 bit, none in the file", pngs(some(3), 3), reason="palette's colours without a palette"
    )
    files = pngs(some(255), 0, chunks=[(b"CgBI", bytes(4))])
    yield Case("PNG", "critical chunk that is no standard (CgBI)", files, reason="critical chunk CgBI")
    rgb = whole("u1", 3)
    frames = {
        "": saved(
            Image.fromarray(rgb), "PNG", save_all=True, append_images=[Image.fromarray(255 - rgb)], duration=50, loop=0
        )
    }
    yield Case("PNG", "animated: the first frame", frames, rgb * 1.0)


def jpeg_cases():
    rgb, inks = smooth(), smooth(4)
    options = {"quality": 95, "subsampling": 0}
    image = Image.fromarray(rgb)
    files = {
        "baseline": saved(image, "JPEG", **options),
        "progressive": saved(image, "JPEG", progressive=True, **options),
        "4:2:0": saved(image, "JPEG", quality=95, subsampling=2),
        "restarts": saved(image, "JPEG", restart_marker_blocks=1, **options),
    }
    yield Case("JPEG", "YCbCr, 8 bit, baseline and progressive", files, rgb * 1.0, 12)
    yield Case("JPEG", "RGB, 8 bit", {"": saved(image, "JPEG", keep_rgb=True, **options)}, rgb * 1.0, 8)
    files = {
        "baseline": saved(image.getchannel(0), "JPEG", quality=95),
        "progressive": saved(image.getchannel(0), "JPEG", quality=95, progressive=True),
    }
    yield Case("JPEG", "grey, 8 bit", files, ref.grey(rgb[..., 0]), 8)
    cmyk = saved(Image.fromarray(inks, "CMYK"), "JPEG", **options)
    yield Case("JPEG", "CMYK, 8 bit, inverted as Adobe's", {"": cmyk}, ref.of_cmyk(inks), 8)
    # Adobe's segment says what the four channels are: written as CMYK, read as YCCK.
    at = cmyk.index(b"Adobe")
    ycck = saved(Image.fromarray(255 - inks, "CMYK"), "JPEG", **options)
    ycck = ycck[: at + 11] + b"\2" + ycck[at + 12 :]
    expected = ref.of_cmyk(np.concatenate([ref.of_ycbcr(inks[..., :3]), 255.0 - inks[..., 3:]], axis=-1))
    yield Case("JPEG", "YCCK, 8 bit, inverted as Adobe's", {"": ycck}, expected, 12)
    twelve = bytearray(saved(image, "JPEG", **options))
    twelve[twelve.index(b"\xff\xc0") + 4] = 12
    yield Case("JPEG", "12 bit", {"": bytes(twelve)}, reason="12-bit")


def webp_cases():
    rgb, rgba = whole("u1", 3), whole("u1", 4)
    yield Case("WebP", "RGB, 8 bit, lossless", {"": saved(Image.fromarray(rgb), "WEBP", lossless=True)}, rgb * 1.0)
    yield Case(
        "WebP", "RGB, 8 bit, lossy", {"": saved(Image.fromarray(smooth()), "WEBP", quality=95)}, smooth() * 1.0, 24
    )
    expected = ref.over_white(rgba[..., :3], rgba[..., 3] / 255)
    files = {"": saved(Image.fromarray(rgba), "WEBP", lossless=True, exact=True)}
    yield Case("WebP", "RGBA, 8 bit, lossless", files, expected, 2)
    files = {
        "": saved(
            Image.fromarray(rgb), "WEBP", lossless=True, save_all=True, append_images=[Image.fromarray(255 - rgb)]
        )
    }
    yield Case("WebP", "animated: the first frame", files, rgb * 1.0)


def bmp_rows(values, bits):
    """Rows from the bottom, each filled up to four bytes."""
    rows = [packed(row[None], bits) if bits < 8 else row.tobytes() for row in values[::-1]]
    return b"".join(row + bytes(-len(row) % 4) for row in rows)


def runs(indices, kind):
    """Run lengths of 8 or 4 bits, of one pixel each."""
    lines = []
    for row in indices[::-1]:
        lines.append(b"".join(bytes([1, index << 4 if kind == 4 else index]) for index in row.tolist()))
    return b"\0\0".join(lines) + b"\0\1"


def bmp_cases():
    size = (WIDTH, HEIGHT)
    for bits in (1, 4, 8):
        indices, colours = some(2**bits - 1), whole("u1", 3).reshape(-1, 3)[: 2**bits]
        palette = b"".join(bytes([b, g, r, 0]) for r, g, b in colours.tolist())
        files = {"": bmp(bmp_rows(indices, bits), *size, bits, palette=palette)}
        if bits > 1:
            files["run lengths"] = bmp(runs(indices, bits), *size, bits, palette=palette, compression=10 // bits - 0)
        yield Case("BMP", f"palette, {bits} bit", files, colours[indices] * 1.0)
    grey, rgb, rgba = some(255), whole("u1", 3), whole("u1", 4)
    palette = b"".join(bytes([level, level, level, 0]) for level in range(256))
    yield Case("BMP", "grey, 8 bit", {"": bmp(bmp_rows(grey, 8), *size, 8, palette=palette)}, ref.grey(grey))
    rows = bmp_rows(rgb[..., ::-1], 8)
    down = bmp_rows(rgb[::-1, :, ::-1], 8)
    files = {
        "": bmp(rows, *size, 24),
        "from the top": bmp(down, WIDTH, -HEIGHT, 24),
        "V5": bmp(rows, *size, 24, header=124),
    }
    yield Case("BMP", "RGB, 24 bit", files, rgb * 1.0)
    rows = bmp_rows(rgba[..., [2, 1, 0, 3]], 8)
    yield Case("BMP", "RGB, 32 bit", {"": bmp(rows, *size, 32)}, rgba[..., :3] * 1.0)
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    files = {"": bmp(rows, *size, 32, compression=3, masks=masks, header=124)}
    yield Case("BMP", "RGBA, 32 bit, by masks", files, ref.over_white(rgba[..., :3], rgba[..., 3] / 255), 2)
    words = some(2**15 - 1, dtype="u2")
    fives = np.stack([words >> 10, words >> 5 & 31, words & 31], axis=-1)
    yield Case("BMP", "RGB, 16 bit (5, 5, 5)", {"": bmp(bmp_rows(words, 16), *size, 16)}, fives * (255 / 31))
    words = whole("u2")
    parts = np.stack([(words >> 11) * (255 / 31), (words >> 5 & 63) * (255 / 63), (words & 31) * (255 / 31)], axis=-1)
    files = {"": bmp(bmp_rows(words, 16), *size, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F))}
    yield Case("BMP", "RGB, 16 bit (5, 6, 5), by masks", files, parts)
    files = {"": bmp(rows, *size, 32, compression=3, masks=(0x3FF00000, 0xFFC00, 0x3FF))}
    yield Case("BMP", "RGB, 32 bit (10, 10, 10), by masks", files, reason="bitfields layout")
    yield Case("BMP", "64 bit", {"": bmp(bytes(WIDTH * HEIGHT * 8), *size, 64)}, reason="pixel depth .64")
    jpeg = saved(Image.fromarray(smooth()), "JPEG")
    yield Case("BMP", "JPEG inside", {"": bmp(jpeg, *size, 24, compression=4)}, reason="compression")


def gif_cases():
    indices, colours = some(255), whole("u1", 3).reshape(-1, 3)[:256]
    image = Image.fromarray(indices)
    image.putpalette(colours.tobytes())
    files = {"": saved(image, "GIF"), "interlaced": saved(image, "GIF", interlace=1)}
    yield Case("GIF", "palette, 8 bit", files, colours[indices] * 1.0)
    clear = int(indices[0, 0])
    expected = np.where((indices == clear)[..., None], 255, colours[indices] * 1.0)
    yield Case("GIF", "palette, 8 bit, a clear colour", {"": saved(image, "GIF", transparency=clear)}, expected)
    frames = saved(image, "GIF", save_all=True, append_images=[Image.new("L", (WIDTH, HEIGHT))], duration=50)
    yield Case("GIF", "animated: the first frame", {"": frames}, colours[indices] * 1.0)


def all_cases():
    for source in (
        jpeg_cases,
        png_cases,
        webp_cases,
        bmp_cases,
        gif_cases,
        tiff_grey,
        tiff_floats,
        tiff_colours,
        tiff_palettes,
        tiff_compressions,
    ):
        yield from source()


CASES = list(all_cases())
