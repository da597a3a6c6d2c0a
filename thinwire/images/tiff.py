"""TIFF files: the directory that Pillow gets of them, and what it loses of samples with more than 8 bits or a sign.

Pillow refuses a file over tags that have nothing to do with its pixels, and decodes some layouts to other pixels than
the file's; so it gets a directory of the first page's pixels alone, and what it would get wrong is refused. Source:
TIFF 6.0, and Pillow 13's TiffImagePlugin; which layouts those are, `tests/thinwire/images` finds.
"""

import io
import math
import struct
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import TiffImagePlugin

from thinwire.errors import InvalidImageError
from thinwire.images.colour import Grey
from thinwire.images.reading import ORIENTATION, Opened, bounded_profile, orientation_of, refusing

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANES = 273, 277, 278, 279, 284
COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 320, 322, 323, 324, 325
EXTRA, FORMAT, LEAST, MOST, SUBSAMPLING = 338, 339, 340, 341, 530
XMP, PROFILE = 700, 34675
# Of the pixels: sizes, layout, colours, and what their compression needs.
_KEPT = {WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, STRIP_OFFSETS, SAMPLES, ROWS_PER_STRIP, STRIP_COUNTS, PLANES}
_KEPT |= {COLOUR_MAP, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS, EXTRA, FORMAT, SUBSAMPLING}
_KEPT |= {266, 292, 293, 317, 332, 347, *range(512, 522), 529, 531, 532}
# Codes of the types of values for `struct`; of rationals, which nobody asks for, only the size.
_TYPES = {1: "B", 2: "s", 3: "H", 4: "I", 5: "8s", 6: "b", 7: "s", 8: "h", 9: "i", 10: "8s", 11: "f", 12: "d"}
_TYPES |= {13: "I", 16: "Q", 17: "q", 18: "Q"}
_SHORT, _LONG = 3, 4
# Bytes that a directory's values may take beyond the file's own, for those that are written anew.
_ROOM = 4096
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned", _SIGNED: "signed", _FLOAT: "float"}
_LETTERS = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f"}
_PHOTOMETRIC = {0: "WhiteIsZero", 1: "BlackIsZero", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}


class Directory:
    """The first directory of a file, classic or BigTIFF.

    Args:
        data: the file.

    Raises:
        InvalidImageError: there is none.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order = "<" if data[:2] == b"II" else ">"
        is_big = 43 in data[2:4]
        self._offset, self._inline, head = ("Q", 8, 8) if is_big else ("I", 4, 4)
        number = struct.Struct(self.order + ("Q" if is_big else "H"))
        entry = struct.Struct(f"{self.order}HH{self._offset}{self._inline}s")
        # By tag: type, count, and the values or where they are.
        self._entries: dict[int, tuple[int, int, bytes]] = {}
        self._changed: dict[int, bytes] = {}
        try:
            (start,) = struct.unpack_from(self.order + self._offset, data, head)
            (count,) = number.unpack_from(data, start)
            for place in range(min(count, 65_535)):
                tag, kind, values, field = entry.unpack_from(data, start + number.size + place * entry.size)
                self._entries.setdefault(tag, (kind, values, field))
        except struct.error:
            # Of a directory that is cut, what is there may do.
            if WIDTH not in self._entries:
                raise InvalidImageError("TIFF without a directory") from None

    def __contains__(self, tag: int) -> bool:
        return tag in self._entries

    def raw(self, tag: int) -> bytes:
        """A tag's bytes, or nothing where it is missing or cut."""
        kind, count, field = self._entries.get(tag, (0, 0, b""))
        if kind not in _TYPES:
            return b""
        size = count * struct.calcsize("=" + _TYPES[kind])
        if size <= self._inline:
            return field[:size]
        (offset,) = struct.unpack(self.order + self._offset, field)
        raw = self.data[offset : offset + size]
        return raw if len(raw) == size else b""

    def values(self, tag: int) -> NDArray[Any]:
        """A tag's numbers, or none."""
        raw = self.raw(tag)
        code = _TYPES[self._entries[tag][0]] if raw else "s"
        return np.frombuffer(raw if code[-1] != "s" else b"", dtype=self.order + (code if code[-1] != "s" else "B"))

    def integer(self, tag: int, default: int) -> int:
        """A tag's first number, or another where it has none."""
        values = self.values(tag)
        return int(values[0]) if len(values) else default

    def set(self, tag: int, values: list[int]) -> None:
        """Write other numbers for a tag, of 16 bits, or leave it out where there are none."""
        self._changed[tag] = struct.pack(f"{self.order}{len(values)}H", *values)

    def written(self) -> io.BytesIO:
        """The file with a classic directory of the tags that the pixels need, behind all that it has.

        Raises:
            InvalidImageError: the tags have more values than the file has bytes.
        """
        file = io.BytesIO()
        file.write(self.data)
        end = len(self.data) + len(self.data) % 2
        file.seek(end)
        entries = []
        for tag in sorted(_KEPT & (self._entries.keys() | self._changed.keys())):
            kind, raw = self._packed(tag)
            if not raw:
                continue
            field = raw.ljust(4, b"\0")
            if len(raw) > 4:
                field = struct.pack(self.order + "I", file.tell())
                file.write(raw + bytes(len(raw) % 2))
            # No more than what a file has whose tags have values of their own.
            if file.tell() > 2 * end + _ROOM:
                raise InvalidImageError("TIFF whose directory is larger than the file")
            count = len(raw) // struct.calcsize("=" + _TYPES[kind])
            entries.append(struct.pack(self.order + "HHI4s", tag, kind, count, field))
        start = file.tell()
        file.write(struct.pack(self.order + "H", len(entries)) + b"".join(entries) + bytes(4))
        file.seek(2)
        file.write(struct.pack(self.order + "HI", 42, start))
        file.seek(0)
        return file

    def _packed(self, tag: int) -> tuple[int, bytes]:
        """A tag's type and bytes in a classic file, whose offsets have 32 bits."""
        if tag in self._changed:
            return _SHORT, self._changed[tag]
        kind, raw = self._entries[tag][0], self.raw(tag)
        if kind in (13, 16, 18) and raw:
            return _LONG, self.values(tag).astype(self.order + "u4").tobytes()
        return kind, raw


def open_tiff(data: bytes) -> Opened:
    """Read a file's header; the first page's pixels are parted from the metadata.

    Raises:
        InvalidImageError: pixels are missing, or Pillow would decode others than the file's.
    """
    directory = Directory(data)
    samples, bits = directory.integer(SAMPLES, 1), directory.integer(BITS, 1)
    kind, photometric = directory.integer(FORMAT, _UNSIGNED), directory.integer(PHOTOMETRIC, 0)
    if kind == 4:
        # "Undefined", which readers may take as unsigned.
        kind = _UNSIGNED
        directory.set(FORMAT, [kind])
    description = (
        f"TIFF of {samples} x {bits}-bit {_KINDS.get(kind, 'complex')} samples, "
        f"{_PHOTOMETRIC.get(photometric, f'photometric interpretation {photometric}')}, "
        f"compression {directory.integer(COMPRESSION, 1)}"
    )
    fault = _misread(directory, samples, bits, photometric) or _missing(directory, samples, bits)
    if fault:
        raise InvalidImageError(f"{description}: {fault}")
    orientation = directory.integer(ORIENTATION, 0)
    if not 1 <= orientation <= 8:
        orientation = orientation_of(xmp=[directory.raw(XMP)])
    grey = None
    if samples == 1:
        # Pillow takes the planes of one sample for those of several.
        directory.set(PLANES, [])
        if photometric in (0, 1):
            grey = _grey(directory, bits, kind, photometric)
    if photometric == 3:
        colours = directory.values(COLOUR_MAP)
        if 0 < colours.max(initial=0) < 256:
            # Written as 8 bits, against the standard, by so many that libtiff takes it, too.
            directory.set(COLOUR_MAP, [257 * int(colour) for colour in colours])
    profile, description = bounded_profile(directory.raw(PROFILE)), f"{description},"
    with refusing(description):
        image = TiffImagePlugin.TiffImageFile(directory.written())
    return Opened(image, orientation, profile, grey, description=description)


def _missing(directory: Directory, samples: int, bits: int) -> str:
    """What pixels are not in the file: Pillow leaves them black, or takes other bytes for them."""
    width, height = directory.integer(WIDTH, 0), directory.integer(HEIGHT, 0)
    if STRIP_OFFSETS in directory:
        rows, columns = min(directory.integer(ROWS_PER_STRIP, height), height), width
        offsets, counts = directory.values(STRIP_OFFSETS), directory.values(STRIP_COUNTS)
    elif TILE_OFFSETS in directory:
        rows, columns = directory.integer(TILE_HEIGHT, 0), directory.integer(TILE_WIDTH, 0)
        offsets, counts = directory.values(TILE_OFFSETS), directory.values(TILE_COUNTS)
    else:
        return ""
    if min(rows, columns, width, height) < 1:
        return "no pixels"
    planes = samples if directory.integer(PLANES, 1) == 2 else 1
    parts = -(-height // rows) * -(-width // columns) * planes
    if len(offsets) < parts:
        return f"{len(offsets)} strips or tiles, where the size needs {parts}"
    offsets, counts = offsets[:parts].astype(np.float64), counts[:parts].astype(np.float64)
    if not offsets.all() or not counts.all():
        return "strips or tiles are left out"
    if directory.integer(COMPRESSION, 1) == 1:
        counts = np.full(parts, float(rows * (-(-columns * bits * (samples // planes) // 8))))
        if STRIP_OFFSETS in directory:
            # The last strip of each plane has what rows are left.
            counts[parts // planes - 1 :: parts // planes] *= ((height - 1) % rows + 1) / rows
    if len(counts) == parts and (offsets + counts).max() > len(directory.data):
        return "strips or tiles are cut off"
    return ""


def _misread(directory: Directory, samples: int, bits: int, photometric: int) -> str:
    """Why Pillow would decode other pixels than the file's, or nothing."""
    extra = tuple(directory.values(EXTRA).tolist())
    compressed = directory.integer(COMPRESSION, 1) != 1
    is_apart = samples > 1 and directory.integer(PLANES, 1) == 2
    if is_apart and (photometric not in (2, 5) or (not compressed and (bits != 8 or extra not in ((), (2,))))):
        return "planes apart are decoded only of RGB and CMYK, and uncompressed only of 8 bits"
    if photometric == 6 and not compressed:
        pixels = directory.integer(WIDTH, 0) * directory.integer(HEIGHT, 0)
        counts = directory.values(STRIP_COUNTS if STRIP_OFFSETS in directory else TILE_COUNTS)
        if float(counts.sum(dtype=np.float64)) < 3 * pixels:
            return "uncompressed colour differences of fewer pixels are not decoded"
    if photometric == 3 and len(directory.values(COLOUR_MAP)) < 3 << min(bits, 16):
        return "a palette of too few colours"
    return ""


def _grey(directory: Directory, bits: int, kind: int, photometric: int) -> Grey | None:
    """What Pillow's samples mean; the directory is changed to one that Pillow decodes without loss."""
    known = {_UNSIGNED: (12, 16, 32), _SIGNED: (8, 16, 32), _FLOAT: (16, 32)}
    if bits not in known.get(kind, ()):
        return None
    # It inverts only some depths of WhiteIsZero, and refuses signs and byte orders with others.
    directory.set(PHOTOMETRIC, [1])
    directory.set(FORMAT, [_UNSIGNED if bits < 32 else _FLOAT if kind == _FLOAT else _SIGNED])
    low = -(2.0 ** (bits - 1)) if kind == _SIGNED else 0.0
    high = 1.0 if kind == _FLOAT else low + 2.0**bits - 1
    told = [(*directory.values(tag).tolist(), default)[0] for tag, default in ((LEAST, low), (MOST, high))]
    is_told = 0 < told[1] - told[0] < math.inf and told != [low, high]
    native = "<" if sys.byteorder == "little" else ">"
    return Grey(
        dtype=f"{_LETTERS[kind]}{(bits + 7) // 8}",
        low=told[0] if is_told else low,
        high=told[1] if is_told else high,
        is_inverted=photometric == 0,
        # Of compressed samples libtiff has swapped the bytes already, and Pillow does again.
        is_swapped=bits == 32 and directory.integer(COMPRESSION, 1) != 1 and directory.order != native,
        must_fit=kind == _FLOAT and not is_told,
    )
