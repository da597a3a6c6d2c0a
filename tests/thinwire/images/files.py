"""Image files by hand, of any samples and with any metadata: what no single library writes."""

import struct
import zlib

import numpy as np

TIFF_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q"}
FORMATS = {"u": 1, "i": 2, "f": 3}


def packed(samples, bits):
    """Rows of ``height x width`` samples of 1, 2, 4 or 12 bits, each row filled up to whole bytes."""
    weights = 1 << np.arange(bits - 1, -1, -1)
    return np.packbits(((samples[..., None] & weights) > 0).reshape(len(samples), -1), axis=1).tobytes()


def tiff(
    samples,
    photometric=1,
    order="<",
    *,
    compression=1,
    predictor=1,
    planes=1,
    tile=0,
    strip=0,
    extra=(),
    bits=0,
    sample_format=0,
    big=False,
    fill=1,
    tags=(),
):
    """A TIFF of one page.

    Args:
        samples: an array ``height x width`` or ``height x width x samples``; its dtype is the type of the samples.
        order: "<" or ">", the byte order.
        compression: 1 none, 8 deflate.
        predictor: 2 differences of neighbours, for integers.
        planes: 2 stores each sample's plane by itself.
        tile: side of square tiles in pixels; 0: strips.
        strip: rows of a strip; 0: all.
        bits: of a sample, where they are fewer than its dtype has.
        fill: 2 reverses the bits of each byte.
        tags: ``(tag, type, values)`` to add; they replace what would be written else.
    """
    samples = np.asarray(samples)
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, count = samples.shape
    rows, columns = (tile, tile) if tile else (strip or height, width)
    blocks = []
    for plane in np.split(samples, count, axis=2) if planes == 2 else [samples]:
        for top in range(0, height, rows):
            for left in range(0, width, columns):
                block = plane[top : top + rows, left : left + columns]
                if tile:
                    missing = (tile - block.shape[0], tile - block.shape[1])
                    block = np.pad(block, ((0, missing[0]), (0, missing[1]), (0, 0)))
                if predictor == 2:
                    block = np.diff(block, axis=1, prepend=np.zeros_like(block[:, :1]))
                if bits and bits < 8 * samples.itemsize:
                    raw = packed(block.reshape(len(block), -1), bits)
                else:
                    raw = block.astype(samples.dtype.newbyteorder(order)).tobytes()
                if fill == 2:
                    raw = bytes(int(f"{byte:08b}"[::-1], 2) for byte in raw)
                blocks.append(zlib.compress(raw) if compression == 8 else raw)

    offset = 16 if big else 8
    offsets = []
    for block in blocks:
        offsets.append(offset)
        offset += len(block)
    wide = 16 if big else 4
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits or 8 * samples.itemsize] * count),
        259: (3, [compression]),
        262: (3, [photometric]),
        277: (3, [count]),
        284: (3, [planes]),
        317: (3, [predictor]),
        339: (3, [sample_format or FORMATS[samples.dtype.kind]] * count),
    }
    if fill != 1:
        entries[266] = (3, [fill])
    if extra:
        entries[338] = (3, list(extra))
    if tile:
        entries |= {322: (4, [tile]), 323: (4, [tile]), 324: (wide, offsets), 325: (4, [len(b) for b in blocks])}
    else:
        entries |= {278: (4, [rows]), 273: (wide, offsets), 279: (4, [len(block) for block in blocks])}
    for tag, kind, values in tags:
        entries[tag] = (kind, values)
    return _tiff_of(entries, b"".join(blocks), order, big)


def _tiff_of(entries, pixels, order, big):
    count, offset_of, inline, head = ("Q", "Q", 8, 16) if big else ("H", "I", 4, 8)
    body = pixels + b"\0" * (len(pixels) % 2)
    directory = struct.pack(order + count, len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        code = TIFF_TYPES.get(kind, "s")
        data = bytes(values) if code == "s" else struct.pack(f"{order}{len(values)}{code}", *values)
        number = len(values)
        if len(data) > inline:
            offset, body = head + len(body), body + data + b"\0" * (len(data) % 2)
            data = struct.pack(order + offset_of, offset)
        directory += struct.pack(f"{order}HH{offset_of}", tag, kind, number) + data.ljust(inline, b"\0")
    directory += struct.pack(order + offset_of, 0)
    start = b"II" if order == "<" else b"MM"
    if big:
        start += struct.pack(order + "HHHQ", 43, 8, 0, head + len(body))
    else:
        start += struct.pack(order + "HI", 42, head + len(body))
    return start + body + directory


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples, colour, bits=8, chunks=(), after=(), interlaced=False):
    """A PNG.

    Args:
        samples: an array ``height x width`` or ``height x width x samples`` of integers.
        colour: the colour type: 0 grey, 2 RGB, 3 palette, 4 grey with alpha, 6 RGBA.
        bits: of a sample.
        chunks, after: bodies of further chunks by kind, in front of the pixels and behind them.
        interlaced: by Adam7.
    """
    samples = np.asarray(samples)
    samples = samples[..., None] if samples.ndim == 2 else samples
    height, width, _ = samples.shape
    # Start and step of the rows, then of the columns, of each pass.
    adam7 = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    raw = b""
    for top, down, left, right in adam7 if interlaced else [(0, 1, 0, 1)]:
        part = samples[top::down, left::right]
        for row in part if part.size else ():
            values = row.reshape(1, -1)
            raw += b"\0" + (packed(values, bits) if bits < 8 else values.astype(f">u{bits // 8}").tobytes())
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)), *chunks]
    parts += [(b"IDAT", zlib.compress(raw)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def bmp(rows, width, height, bits, *, compression=0, palette=b"", masks=(), header=40, profile=b""):
    """A BMP of rows that are encoded already; a negative height is stored from the top."""
    fields = struct.pack("<IiiHHIIiiII", header, width, height, 1, bits, compression, len(rows), 0, 0, 0, 0)
    after = b"".join(struct.pack("<I", mask) for mask in masks)
    if header == 124:
        kind = struct.unpack(">I", b"MBED")[0] if profile else 0
        after = after.ljust(16, b"\0") + struct.pack("<I", kind) + bytes(48)
        start = header + len(palette) + len(rows)
        after += struct.pack("<IIII", 0, start if profile else 0, len(profile), 0)
    offset = 14 + len(fields) + len(after) + len(palette)
    body = fields + after + palette + rows + profile
    return b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, offset) + body


def exif(*entries, order=">"):
    """An EXIF block whose only directory has these ``(tag, type, count, four bytes)``."""
    directory = struct.pack(order + "H", len(entries))
    directory += b"".join(struct.pack(order + "HHI4s", *entry) for entry in entries)
    start = b"II" if order == "<" else b"MM"
    return start + struct.pack(order + "HI", 42, 8) + directory + bytes(4)
