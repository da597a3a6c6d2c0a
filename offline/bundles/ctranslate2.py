"""Variables of a model in CTranslate2's format (``model.bin`` of binary version 6), without that library."""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import BundleError

VERSION = 6
# By the number that stands for each; bfloat16, which NumPy does not know, is 5.
TYPES: Mapping[int, type[np.generic]] = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}
MAX_RANK = 8


@dataclass(frozen=True)
class Variables:
    """What a file holds.

    Attributes:
        spec: name of what it is the weights of, such as ``WhisperSpec``.
        revision: of the spec.
        arrays: variables by name; views of the file.
        aliases: other names, and the variables that they stand for.
    """

    spec: str
    revision: int
    arrays: dict[str, NDArray[Any]]
    aliases: dict[str, str]


def read_variables(path: Path) -> Variables:
    """Read a ``model.bin``.

    All numbers are little-endian: the version (32 bits), the spec's name, its revision, the number of variables (both
    32); of each variable its name, rank (8), dimensions (32 each), type (8), bytes (32) and data in C order; the number
    of aliases (32), and of each its name and that of its variable. A text is its length (16) and as many bytes, the
    last of which is 0.

    Raises:
        BundleError: there is no such file, it is of another version, it ends early or late, or says what cannot be.
    """
    try:
        data = np.memmap(path, np.uint8, "r") if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise BundleError(f"{path}: expected a model of CTranslate2: {error.strerror}") from None
    reader = _Reader(path, data)
    version = reader.number("I")
    if version != VERSION:
        raise BundleError(f"{path}: expected CTranslate2's binary version {VERSION}, got {version}")
    spec, revision = reader.text(), reader.number("I")
    arrays: dict[str, NDArray[Any]] = {}
    for _ in range(reader.number("I")):
        name = reader.text()
        if name in arrays:
            raise BundleError(f"{path}: the variable {name} is there twice")
        arrays[name] = reader.array(name)
    aliases = {reader.text(): reader.text() for _ in range(reader.number("I"))}
    if reader.place != len(data):
        raise BundleError(f"{path}: expected {reader.place} bytes, got {len(data)}")
    return Variables(spec, revision, arrays, aliases)


class _Reader:
    def __init__(self, path: Path, data: NDArray[np.uint8]) -> None:
        self.path, self.data, self.place = path, data, 0

    def take(self, count: int) -> NDArray[np.uint8]:
        part = self.data[self.place : self.place + count]
        if len(part) < count:
            raise BundleError(
                f"{self.path}: cut short: expected {self.place + count} bytes or more, got {len(self.data)}"
            )
        self.place += count
        return part

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)).tobytes())[0])

    def text(self) -> str:
        raw = self.take(self.number("H")).tobytes()
        try:
            text = raw.removesuffix(b"\0").decode()
        except UnicodeDecodeError:
            text = ""
        if not text.isprintable() or not text or not raw.endswith(b"\0"):
            raise BundleError(f"{self.path}: expected a name at byte {self.place - len(raw)}, got {raw[:40]!r}")
        return text

    def array(self, name: str) -> NDArray[Any]:
        rank = self.number("B")
        if rank > MAX_RANK:
            raise BundleError(f"{self.path}: {name}: expected a rank up to {MAX_RANK}, got {rank}")
        shape = tuple(self.number("I") for _ in range(rank))
        kind, count = self.number("B"), self.number("I")
        if kind not in TYPES:
            known = ", ".join(f"{number} ({found.__name__})" for number, found in TYPES.items())
            raise BundleError(f"{self.path}: {name}: expected a type of {known}, got {kind}")
        dtype = np.dtype(TYPES[kind]).newbyteorder("<")
        if count != math.prod(shape) * dtype.itemsize:
            raise BundleError(f"{self.path}: {name}: expected {math.prod(shape) * dtype.itemsize} bytes, got {count}")
        return self.take(count).view(dtype).reshape(shape)
