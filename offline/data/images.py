"""Labelled images from a tar, a folder or a hub data set, split so that nothing is measured on what was trained on."""

import hashlib
import logging
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from timm.data.readers import create_reader
from timm.data.readers.img_extensions import set_img_extensions

from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError, UnavailableError
from thinwire.images import FORMATS, Preprocessing, decode, to_pixels

log = logging.getLogger(__name__)
SELECT_SHARE = 0.1
# By these timm's readers know images; its own are those of PNG and JPEG, and what else a folder has it passes over.
EXTENSIONS = tuple(sorted(end for end, kind in Image.registered_extensions().items() if kind in FORMATS))
set_img_extensions(EXTENSIONS)


@dataclass(frozen=True)
class LabelledImages:
    """Images of one size with their labels.

    Attributes:
        names: path of each image within its source, ``class/name``; it keys the noise of an evaluation.
        pixels: an ``n x height x width x 3`` array of uint8.
        labels: an ``n``-array of int64 class indices.
        classes: names of the classes in order of their index.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: NDArray[np.int64]) -> "LabelledImages":
        """The images at these indices, in this order."""
        names = tuple(self.names[index] for index in indices)
        return LabelledImages(names, self.pixels[indices], self.labels[indices], self.classes)

    def even_sample(self, limit: int) -> "LabelledImages":
        """At most ``limit`` images, the classes as even as can be: the first of every class, then the second ..."""
        return self.take(_even_sample(self.labels, limit))

    def digest(self) -> str:
        """SHA-256 over names, labels and pixels, as hex."""
        content = hashlib.sha256("\n".join(self.names).encode())
        content.update(self.labels.tobytes())
        content.update(self.pixels.tobytes())
        return content.hexdigest()


def _even_sample(labels: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = np.argsort(_rank_within_class(labels), kind="stable")
    return np.sort(order[:limit])


def _rank_within_class(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    ranks = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        ranks[members] = np.arange(len(members))
    return ranks


def load(
    source: str,
    preprocessing: Preprocessing,
    classes: tuple[str, ...] | None = None,
    split: str = "train",
    check: Callable[[tuple[str, ...]], None] = lambda classes: None,
    part: Literal["all", "select", "train"] = "all",
    limit: int | None = None,
) -> LabelledImages:
    """Read the images of a source.

    Args:
        source: an uncompressed ``.tar`` or a folder laid out as ``class/image``, of which files that end in
            `EXTENSIONS` are read and the log says what is left out; or a data set of the Hugging Face hub as
            ``hfds/<owner>/<name>`` (read through timm; needs the ``datasets`` package and a network).
        preprocessing: brings each image to the model's size; the values stay uint8.
        classes: names in the order of their indices, which the source's folders are matched to; by default the
            source's own names, sorted.
        split: which split of a hub data set; a tar or a folder is read whole.
        check: is given the source's classes before an image is decoded, which may take minutes, and raises what it has
            against them.
        part: leave out all that is not of *select*, or all that is, before anything is decoded; see `in_select`.
        limit: decode at most so many, by `LabelledImages.even_sample`.

    Raises:
        InvalidRequestError: there is nothing at ``source``, or no images, or a class that ``classes`` does not name, or
            a class without images, or none of the part that is wanted.
        UnavailableError: the package that reads the hub's data sets is not installed.
        InvalidImageError: an image cannot be decoded.
    """
    if source.startswith("hfds/") and find_spec("datasets") is None:
        raise UnavailableError(f"{source}: this needs the package datasets (pip install datasets)")
    if not source.startswith("hfds/") and not Path(source).exists():
        raise InvalidRequestError(f"no data at {source}: expected a tar or a folder of class/image")
    left_out = [] if source.startswith("hfds/") else _left_out(source)
    try:
        reader = create_reader(source, split=split) if source.startswith("hfds/") else create_reader("", root=source)
    # What timm's readers end in where there are no images, or no tar; for the hub, without a network.
    except (RuntimeError, ValueError, AssertionError, OSError, tarfile.TarError) as error:
        raise InvalidRequestError(f"no labelled images in {source}: {' '.join(str(error).split())[:300]}") from None
    class_to_index: dict[str, int] = getattr(reader, "class_to_idx", None) or reader.class_name_to_idx
    found = sorted(class_to_index, key=lambda name: class_to_index[name])
    order = tuple(found) if classes is None else classes
    # A tar may be of its folder: there "." is what "" is elsewhere.
    if strays := ["the folder itself"] * bool({"", "."} & set(found)) + _without_images(source, found):
        raise InvalidRequestError(f"data: expected class/image in {source}, got {strays[0]} as a class")
    if unknown := set(found) - set(order):
        raise InvalidRequestError(f"the data has classes that the model does not know: {', '.join(sorted(unknown))}")
    check(tuple(found))
    if left_out:
        log.warning(
            "%s: files left out as no images by their names: %d, such as %s", source, len(left_out), left_out[0]
        )
    names, encoded, labels = [], [], []
    for index, (stream, label) in enumerate(reader):
        name = str(reader.filename(index))
        # Hub data sets hand over encoded bytes as a stream too, so all sources take one path.
        with stream:
            if part == "all" or in_select(name) == (part == "select"):
                names.append(name)
                encoded.append(stream.read())
                labels.append(int(label))
    if not names:
        raise InvalidRequestError(f"of the {len(reader)} images of {source}, none is of the {part} split")
    to_index = np.array([order.index(name) for name in found], dtype=np.int64)
    indices = to_index[np.array(labels)]
    wanted = _even_sample(indices, len(names) if limit is None else limit)
    pixels = []
    for image in wanted.tolist():
        try:
            pixels.append(to_pixels(decode(encoded[image]), preprocessing))
        except (InvalidImageError, PayloadTooLargeError) as error:
            raise type(error)(f"{names[image]}: {error}") from None
    return LabelledImages(tuple(names[image] for image in wanted), np.stack(pixels), indices[wanted], order)


def _left_out(source: str) -> list[str]:
    """Files that are read as no images: they end in none of `EXTENSIONS`, and are not hidden.

    Raises:
        InvalidRequestError: there are no others, or the source is neither a folder nor a tar that timm takes for one.
    """
    path = Path(source)
    if path.is_dir():
        # Links are followed, as timm does.
        names = [
            str((Path(folder) / name).relative_to(path))
            for folder, _, files in os.walk(path, followlinks=True)
            for name in files
        ]
        taken = EXTENSIONS
    elif path.suffix != ".tar":
        raise InvalidRequestError(
            f"no labelled images in {source}: expected a folder or an uncompressed tar named .tar, got {path.name}"
        )
    else:
        try:
            with tarfile.open(path, "r:") as archive:
                names = [member.name for member in archive if member.isfile()]
        except (tarfile.TarError, OSError) as error:
            got = f"{type(error).__name__}: {error}"
            raise InvalidRequestError(
                f"no labelled images in {source}: expected a whole, uncompressed tar, got {got}"
            ) from None
        # timm reads tars in a tar.
        taken = (*EXTENSIONS, ".tar")
    others = sorted(name for name in names if PurePosixPath(name).suffix.lower() not in taken)
    if len(others) == len(names):
        got = f"{len(others)} other files, as {others[0]}" if others else "no files"
        raise InvalidRequestError(
            f"no labelled images in {source}: expected files ending in {', '.join(EXTENSIONS)}, got {got}"
        )
    return [name for name in others if not PurePosixPath(name).name.startswith(".")]


def _without_images(source: str, found: list[str]) -> list[str]:
    """Folders of a folder that hold no image, or further folders: timm's reader passes over them, or merges those."""
    if not Path(source).is_dir():
        return []
    folders = (path.name for path in Path(source).iterdir() if path.is_dir() and not path.name.startswith("."))
    return sorted(f"{name!r}, which holds no images," for name in folders if name not in found)


def in_select(name: str) -> bool:
    """Whether an image of the training source belongs to the *select* split, by a hash of its name."""
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < SELECT_SHARE * 2**64


def split_select(images: LabelledImages) -> tuple[LabelledImages, LabelledImages]:
    """Split a training source into *train* and *select*, the same way whatever the order or the machine."""
    selected = np.array([in_select(name) for name in images.names])
    return images.take(np.flatnonzero(~selected)), images.take(np.flatnonzero(selected))
