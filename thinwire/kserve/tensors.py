"""Tensors as the protocol carries them: raw, as lists of JSON, as lists of typed values."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import InvalidRequestError, PayloadTooLargeError

# Of an input: images as they came (of JSON, as text), questions likewise, or pixels.
Elements: TypeAlias = Sequence[bytes | str] | NDArray[np.uint8] | NDArray[np.float32]
LENGTH_BYTES = 4
# Of a request's elements that are not raw, enough for an image of 224 x 224: each is an object of Python, and all else
# waits while they are made.
MAX_VALUES = 2**18
# Of a tensor.
MAX_AXES = 8
_NUMBERS: dict[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "FP32": np.dtype("<f4"),
    "INT64": np.dtype("<i8"),
}


@dataclass(frozen=True)
class Spec:
    """A tensor that a model takes or gives.

    Attributes:
        name: of the tensor.
        datatypes: those that it may have; metadata name the first, since they have room for one.
        shape: -1 for a size that varies.
    """

    name: str
    datatypes: tuple[str, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Given:
    """An input as it came, its contents not yet looked at.

    Attributes:
        name: of the tensor.
        datatype: what the request says of it.
        shape: likewise, none of them negative.
        raw: its bytes, where it came raw.
        values: its elements otherwise: of JSON flat or nested, of typed contents flat.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    raw: bytes | memoryview | None = None
    values: Sequence[Any] | None = None


@dataclass(frozen=True)
class Output:
    """A tensor of an answer.

    Attributes:
        name: of the tensor.
        datatype: of its elements.
        shape: of the whole.
        values: row by row; texts for BYTES, else numbers.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[str] | Sequence[int] | Sequence[float]

    def raw(self) -> bytes:
        """All elements, little-endian; before each of BYTES its length."""
        if self.datatype != "BYTES":
            return np.array(self.values, _NUMBERS[self.datatype]).tobytes()
        texts = [str(value).encode() for value in self.values]
        return b"".join(struct.pack("<I", len(text)) + text for text in texts)

    def data(self) -> list[Any]:
        """All elements for JSON, flat."""
        if self.datatype == "BYTES":
            return list(self.values)
        data: list[Any] = np.array(self.values, _NUMBERS[self.datatype]).tolist()
        return data


def elements(given: Given, spec: Spec, most: int) -> Elements:
    """The contents of an input, which are those that its shape promises.

    Args:
        given: the input.
        spec: what it has to be.
        most: the largest first size of its shape.

    Raises:
        InvalidRequestError: it is of another datatype or shape, or its contents are not those of its shape.
        PayloadTooLargeError: more than `MAX_VALUES` numbers came that are not raw.
    """
    _check(given, spec, most)
    if given.datatype == "BYTES":
        found = _split(given, given.raw) if given.raw is not None else given.values or ()
        if len(found) != given.shape[0]:
            raise _wrong(given, f"expected {given.shape[0]} elements, as its shape says, got {len(found)}")
        return _texts(given, found)
    kind, count = _NUMBERS[given.datatype], math.prod(given.shape)
    if given.raw is None:
        flat = _numbers(given, kind)
        if flat.size != count:
            raise _wrong(given, f"expected {count} numbers, as its shape says, got {flat.size}")
    elif len(given.raw) != count * kind.itemsize:
        raise _wrong(given, f"expected {count * kind.itemsize} bytes, as its shape says, got {len(given.raw)}")
    else:
        flat = np.frombuffer(given.raw, kind)
    return flat.reshape(given.shape)


def check_values(count: int) -> None:
    """Refuse more elements than a request may have that are not raw.

    Raises:
        PayloadTooLargeError: there are.
    """
    if count > MAX_VALUES:
        raise PayloadTooLargeError(f"{count} values that are not raw; the limit is {MAX_VALUES}, send them in binary")


def _wrong(given: Given, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"input {given.name!r}: {what}", given.name)


def _check(given: Given, spec: Spec, most: int) -> None:
    if given.datatype not in spec.datatypes:
        raise _wrong(given, f"expected the datatype {' or '.join(spec.datatypes)}, got {given.datatype[:80]!r}")
    fits = len(given.shape) == len(spec.shape) and all(
        size > 0 and wanted in (-1, size) for size, wanted in zip(given.shape, spec.shape, strict=True)
    )
    if not fits:
        expected = ", ".join("n" if size < 0 else str(size) for size in spec.shape)
        raise _wrong(given, f"expected the shape [{expected}], n at least 1, got {list(given.shape)[:MAX_AXES]}")
    if given.shape[0] > most:
        raise _wrong(given, f"a request takes up to {most}, got {given.shape[0]}")


def _split(given: Given, raw: bytes | memoryview) -> list[bytes]:
    found: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        if end - at < LENGTH_BYTES:
            raise _wrong(given, f"{end - at} bytes are left over, which is no length of an element")
        (length,) = struct.unpack_from("<I", raw, at)
        at += LENGTH_BYTES
        if length > end - at:
            raise _wrong(given, f"element {len(found)} says {length} bytes, and {end - at} are left")
        # Before it is copied: any number of them may be empty.
        if len(found) == given.shape[0]:
            raise _wrong(given, f"expected {given.shape[0]} elements, as its shape says, got more")
        found.append(bytes(raw[at : at + length]))
        at += length
    return found


def _texts(given: Given, values: Sequence[Any]) -> Sequence[bytes | str]:
    for value in values:
        if not isinstance(value, str | bytes):
            raise _wrong(given, f"expected a flat list of strings, got {str(value)[:80]!r}")
    return values


def _numbers(given: Given, kind: np.dtype[Any]) -> NDArray[Any]:
    values = given.values or ()
    check_values(len(values))
    try:
        flat = np.asarray(values).reshape(-1)
    except ValueError:
        # Of rows that differ in length.
        flat = np.array([""])
    if flat.dtype.kind not in ("iu" if given.datatype == "UINT8" else "iuf"):
        raise _wrong(given, f"expected a list of numbers of {given.datatype}, flat or in rows of one length")
    if given.datatype == "UINT8" and flat.size and not (flat.min() >= 0 and flat.max() <= 255):
        raise _wrong(given, f"expected numbers from 0 to 255, got {flat.min()} to {flat.max()}")
    return flat.astype(kind)
