"""TIFFs of every mode, depth and layout that may come, each with what it must look like, or why it is refused."""

import numpy as np
from PIL import Image

from tests.thinwire.images import references as ref
from tests.thinwire.images.files import tiff
from tests.thinwire.images.making import HEIGHT, WIDTH, Case, saved, smooth, some, whole

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


def grey():
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


def floats():
    samples = np.array([[np.nan, np.inf, -np.inf, 1e30, 0.25, -1], [0.5, 0.5, 0.5, 0.5, 0.75, 1]], dtype="f4")
    expected = ref.grey([[0, 255, 0, 255, 63.75, 0], [127.5, 127.5, 127.5, 127.5, 191.25, 255]])
    yield Case("TIFF", "grey, 32-bit float, half of it NaN, infinite or beyond 0 to 1", tiffs(samples, 1), expected)
    files = tiffs(255 * whole("f4"), 1)
    yield Case(
        "TIFF", "grey, 32-bit float, most of it beyond 0 to 1", files, reason="mode F: most samples .*SMinSample"
    )
    files = tiffs(np.full((4, 4), np.nan, dtype="f4"), 1)
    yield Case("TIFF", "grey, 32-bit float, no numbers", files, reason="mode F: most samples are outside")


def colours():
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


def palettes():
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


def compressions():
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
    yield Case(
        "TIFF",
        "WebP",
        {"": tiff(rgb, 2, tags=[(259, 3, [50001])])},
        reason="compression 50001, is not decoded: it is damaged, or coded in a way",
    )
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
