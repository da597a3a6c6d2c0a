"""Files of every format, mode and depth that may come, each with what it must look like, or why it is refused."""

import struct

import numpy as np
from PIL import Image

from tests.thinwire.images import references as ref
from tests.thinwire.images import tiff_cases
from tests.thinwire.images.files import bmp, packed, png
from tests.thinwire.images.making import HEIGHT, WIDTH, Case, saved, smooth, some, whole

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
        tiff_cases.grey,
        tiff_cases.floats,
        tiff_cases.colours,
        tiff_cases.palettes,
        tiff_cases.compressions,
    ):
        yield from source()


CASES = list(all_cases())
