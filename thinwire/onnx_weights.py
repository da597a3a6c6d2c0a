"""Weights of an exported graph, which lie in half precision in a bundle's own files.

A graph names each as ONNX external data and casts it. A session that did so would hold copies of all of them. So large
models are expanded once, into a file of float32 in the user's cache folder, in the layout that the graph reads, and
mapped from there. Such files may be removed at any time, and old ones are when a new one is written.
"""

import hashlib
import logging
import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError, EncodeError
from numpy.typing import NDArray

from thinwire.bundle import Bundle
from thinwire.errors import BundleError
from thinwire.v1.onnx_pb2 import OnnxModel

log = logging.getLogger(__name__)
FLOAT32, FLOAT16, EXTERNAL = 1, 10, 1
# Bytes of float32 from which on weights are mapped. Below, copies do not matter.
LARGE = 32 * 2**20
# Each tensor starts at a multiple, so that no row straddles two lines of a processor's cache.
ALIGNMENT = 64
# A file that nobody mapped for so many seconds is removed, and beyond so many bytes the one that waited longest, unless
# another process may just be about to map it.
UNUSED_S = 30 * 24 * 3600
MOST_BYTES = 4 * 2**30
ABOUT_TO_MAP_S = 3600
DIGEST_BYTES = hashlib.sha256().digest_size


class Model(NamedTuple):
    """A graph that a session can be made of.

    Attributes:
        content: the model.
        folder: of the file that its weights are mapped from; None where it holds all of them.
    """

    content: bytes
    folder: Path | None = None


class _Half(NamedTuple):
    """A tensor in half precision, where it lies, its name as float32, and its name once transposed if it is."""

    tensor: OnnxModel.Tensor
    file: str
    path: Path
    offset: int
    name: str
    turned: str | None

    def read(self) -> NDArray[np.float16]:
        shape = tuple(self.tensor.dims)
        with self.path.open("rb") as stream:
            return np.fromfile(stream, np.float16, math.prod(shape), offset=self.offset).reshape(shape)


def with_weights(bundle: Bundle, name: str, content: bytes) -> Model:
    """A graph with its weights: in memory, or mapped from the user's cache folder if they are large and that can be
    written.

    Args:
        bundle: whose files hold the weights.
        name: of the graph's file, for messages.
        content: of that file. What holds its weights itself is left as it is.

    Raises:
        BundleError: it is no graph, or names what its bundle's files do not hold.
    """
    what = f"bundle {bundle.name}: {name}"
    try:
        model = OnnxModel.FromString(content)
    except DecodeError as error:
        raise BundleError(f"{what} cannot be loaded: {error}") from None
    halves = _halves(bundle, what, model)
    if not halves:
        return Model(content)
    if sum(length for _, length in _layout(halves)) < LARGE:
        return Model(_with_halves(what, model, halves))
    # The weights are what their digests say: `Bundle.verify` has seen to that.
    parts = [(bundle.files[half.file], half.offset, *half.tensor.dims, half.turned is None) for half in halves]
    try:
        cached = _cached(hashlib.sha256(repr(parts).encode()).hexdigest(), halves)
    # No home, no place, no right to write: a device may have none of them.
    except (OSError, RuntimeError) as error:
        log.info("%s: its weights are held in memory: %s", what, error)
        return Model(_with_halves(what, model, halves))
    _refer_to(cached, model, halves)
    return Model(model.SerializeToString(), cached.parent)


def _halves(bundle: Bundle, what: str, model: OnnxModel) -> list[_Half]:
    casts, transposed = _outputs(model, "Cast"), _outputs(model, "Transpose")
    halves = []
    for tensor in model.graph.initializer:
        if tensor.data_location == EXTERNAL:
            file, offset = _place(bundle, what, tensor, {entry.key: entry.value for entry in tensor.external_data})
            if tensor.name not in casts:
                raise BundleError(f"{what} does not cast {tensor.name} to float32")
            name = casts[tensor.name]
            halves.append(_Half(tensor, file, bundle.path(file), offset, name, transposed.get(name)))
    return halves


def _outputs(model: OnnxModel, kind: str) -> dict[str, str]:
    """What nodes of a kind make of each value; a file that is no graph may hold nodes of nothing."""
    nodes = (node for node in model.graph.node if node.op_type == kind and node.input and node.output)
    return {node.input[0]: node.output[0] for node in nodes}


def _place(bundle: Bundle, what: str, tensor: OnnxModel.Tensor, place: dict[str, str]) -> tuple[str, int]:
    location = place.get("location", "")
    if location not in bundle.files:
        raise BundleError(f"{what} has weights in {location!r}, which its manifest does not list under files")
    try:
        offset, length = int(place.get("offset", "0")), int(place["length"])
        size = bundle.path(location).stat().st_size
    except (KeyError, ValueError):
        raise BundleError(f"{what} does not state where in {location} {tensor.name} lies") from None
    except OSError as error:
        raise BundleError(f"{what}: {location} cannot be read: {error.strerror}") from None
    if tensor.data_type != FLOAT16 or min(tensor.dims, default=0) < 0 or length != 2 * math.prod(tensor.dims):
        raise BundleError(f"{what} has {tensor.name} in {location}, which is not {length} bytes in half precision")
    if offset < 0 or offset + length > size:
        raise BundleError(
            f"{what} has {tensor.name} in {location} from byte {offset} to {offset + length}; that has {size} bytes"
        )
    return location, offset


def _with_halves(what: str, model: OnnxModel, halves: list[_Half]) -> bytes:
    for half in halves:
        half.tensor.raw_data = half.read().tobytes()
        half.tensor.data_location = 0
        del half.tensor.external_data[:]
    try:
        return model.SerializeToString()
    except EncodeError:
        raise BundleError(f"{what}: its weights take more than 2 GiB, and there is no cache folder") from None


def _cached(key: str, halves: list[_Half]) -> Path:
    """A file of all tensors as float32, made unless it is there already and whole."""
    folder = _cache_folder()
    path = folder / f"{key}.float32"
    size = sum(length for _, length in _layout(halves))
    if not _is_whole(path, size):
        # Its owner's alone: whoever else could write here could change what this user's sessions answer.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _prune(folder, MOST_BYTES - size)
        _write(path, halves)
    # ONNX Runtime follows no links.
    return path.resolve()


def _cache_folder() -> Path:
    given = os.environ.get("XDG_CACHE_HOME", "")
    # By its specification, a relative one counts as none.
    base = Path(given) if Path(given).is_absolute() else Path.home() / ".cache"
    return base / "thinwire" / "weights"


def _layout(halves: list[_Half]) -> Iterator[tuple[int, int]]:
    """Where each tensor starts, and the bytes up to the next."""
    offset = 0
    for half in halves:
        length = -(-4 * math.prod(half.tensor.dims) // ALIGNMENT) * ALIGNMENT
        yield offset, length
        offset += length


def _is_whole(path: Path, size: int) -> bool:
    """Whether a file ends with the digest of all that stands before it."""
    if not path.is_file() or path.stat().st_size != size + DIGEST_BYTES:
        return False
    with suppress(OSError):
        # Told apart from one that nobody uses, also where the system does not note what is read.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    content = np.memmap(path, np.uint8, "r").data
    return hashlib.sha256(content[:size]).digest() == content[size:]


def _prune(folder: Path, room: int) -> None:
    """Remove what was not used for long, and what is too much, the longest unused first."""
    now = time.time()
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        # Another process may do this at once.
        with suppress(OSError):
            status = path.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((now - status.st_atime, status.st_size, path))
    for unused_s, size, path in sorted(found):
        room -= size
        if unused_s > UNUSED_S or (room < 0 and unused_s > ABOUT_TO_MAP_S):
            with suppress(OSError):
                path.unlink()
                room += size


def _write(path: Path, halves: list[_Half]) -> None:
    digest = hashlib.sha256()
    # Two processes may do this at once: each has a file of its own, and the last one stays.
    with NamedTemporaryFile(dir=path.parent, delete=False) as stream:
        try:
            for half, (_, length) in zip(halves, _layout(halves), strict=True):
                value = half.read().astype(np.float32)
                content = (value if half.turned is None else value.T).tobytes().ljust(length, b"\0")
                digest.update(content)
                stream.write(content)
            stream.write(digest.digest())
            stream.flush()
            os.fsync(stream.fileno())
            Path(stream.name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(stream.name).unlink()
            raise


def _refer_to(cached: Path, model: OnnxModel, halves: list[_Half]) -> None:
    """Have a graph read float32 from a file, without casts and without transposing."""
    gone = set()
    for half, (offset, _) in zip(halves, _layout(halves), strict=True):
        tensor = half.tensor
        tensor.name = half.turned or half.name
        gone |= {half.name, tensor.name}
        if half.turned:
            tensor.dims[:] = tensor.dims[::-1]
        tensor.data_type = FLOAT32
        del tensor.external_data[:]
        place = {"location": cached.name, "offset": offset, "length": 4 * math.prod(tensor.dims)}
        tensor.external_data.extend(OnnxModel.Entry(key=key, value=str(value)) for key, value in place.items())
    kept = [node for node in model.graph.node if not node.output or node.output[0] not in gone]
    del model.graph.node[:]
    model.graph.node.extend(kept)
