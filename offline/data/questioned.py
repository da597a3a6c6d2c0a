"""Images with questions about them, and the reader of easy-VQA's layout: ``test/questions.json``, ``test/images/``."""

import hashlib
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from offline.data.images import in_select
from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.generation import MAX_QUESTION_CHARACTERS
from thinwire.images import MAX_BYTES, Preprocessing, decode, to_pixels

MAX_QUESTIONS_BYTES = 64 * 2**20
MAX_PIXEL_BYTES = 4 * 2**30
MAX_MEMBERS = 2_000_000


@dataclass(frozen=True)
class QuestionedImages:
    """Images of one size, and questions about them.

    Attributes:
        names: path of each image within its source; it keys the noise of an evaluation.
        pixels: an ``n x height x width x 3`` array of uint8.
        questions: the texts, image by image.
        answers: of each question, its only right answer.
        owners: of each question, the index of its image, as int64; it never falls.
    """

    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    questions: tuple[str, ...]
    answers: tuple[str, ...]
    owners: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.names)

    def take(self, indices: NDArray[np.int64]) -> "QuestionedImages":
        """The images at these indices, in this order, each once, with their questions."""
        place = np.full(len(self), -1, dtype=np.int64)
        place[indices] = np.arange(len(indices))
        owners = place[self.owners]
        kept = np.flatnonzero(owners >= 0)
        kept = kept[np.argsort(owners[kept], kind="stable")]
        return QuestionedImages(
            tuple(self.names[index] for index in indices),
            self.pixels[indices],
            tuple(self.questions[index] for index in kept),
            tuple(self.answers[index] for index in kept),
            owners[kept],
        )

    @cached_property
    def rows(self) -> list[list[tuple[str, str]]]:
        """For each image, its (question, answer) pairs."""
        rows: list[list[tuple[str, str]]] = [[] for _ in self.names]
        for owner, question, answer in zip(self.owners, self.questions, self.answers, strict=True):
            rows[owner].append((question, answer))
        return rows

    def fewer_questions(self, most: int) -> "QuestionedImages":
        """At most so many questions about each image, chosen by a hash of the image's name and the text."""

        def key(index: int) -> bytes:
            asked = f"{self.names[self.owners[index]]} {self.questions[index]}"
            return hashlib.blake2b(asked.encode(), digest_size=8).digest()

        of: list[list[int]] = [[] for _ in self.names]
        for index in sorted(range(len(self.questions)), key=key):
            of[self.owners[index]].append(index)
        kept = [index for row in of for index in sorted(row[:most])]
        return replace(
            self,
            questions=tuple(self.questions[index] for index in kept),
            answers=tuple(self.answers[index] for index in kept),
            owners=self.owners[kept],
        )

    def even_sample(self, limit: int) -> "QuestionedImages":
        """At most ``limit`` images, spread evenly by a hash of their names; a smaller sample is part of a larger."""
        keys = [hashlib.blake2b(f"sample {name}".encode(), digest_size=8).digest() for name in self.names]
        order = np.array(sorted(range(len(self)), key=keys.__getitem__), dtype=np.int64)
        return self.take(np.sort(order[:limit]))

    def digest(self) -> str:
        """SHA-256 over names, questions, answers, owners and pixels, as hex."""
        content = hashlib.sha256(json.dumps([self.names, self.questions, self.answers]).encode())
        content.update(self.owners.tobytes())
        content.update(self.pixels.tobytes())
        return content.hexdigest()


def split_select(images: QuestionedImages) -> tuple[QuestionedImages, QuestionedImages]:
    """Split a training source into *train* and *select*, the same way whatever the order or the machine."""
    selected = np.array([in_select(name) for name in images.names], dtype=bool)
    return images.take(np.flatnonzero(~selected)), images.take(np.flatnonzero(selected))


def load_vqa(source: str, preprocessing: Preprocessing, split: str = "test") -> QuestionedImages:
    """Read the images of a split that are asked about, and their questions.

    Args:
        source: a tar or a folder laid out as ``split/questions.json``, a list of [question, answer, n], and
            ``split/images/n.png``.
        preprocessing: brings each image to the model's size; the values stay uint8.
        split: "train", "test" or any other folder of the source.

    Raises:
        InvalidRequestError: there is nothing at ``source``, or it is laid out otherwise.
        PayloadTooLargeError: a file or the whole split exceeds the limits.
        InvalidImageError: an image cannot be decoded.
    """
    path = Path(source)
    if path.is_dir():
        return _load(_folder_reader(path), source, preprocessing, split)
    if not path.is_file():
        raise InvalidRequestError(f"no data at {source}: expected a tar or a folder with {split}/questions.json")
    try:
        with tarfile.open(path) as archive:
            return _load(_tar_reader(archive, source), source, preprocessing, split)
    # A compressed tar that is damaged ends in the decompressor's own errors.
    except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error, lzma.LZMAError) as error:
        raise InvalidRequestError(f"{source} is no readable tar: {error}") from None


# Reads a file of at most so many bytes by its path within the source; None where there is none.
Reader = Callable[[str, int], bytes | None]


def _folder_reader(folder: Path) -> Reader:
    def read(name: str, limit: int) -> bytes | None:
        path = folder / name
        if not path.is_file():
            return None
        _check_size(name, path.stat().st_size, limit)
        return path.read_bytes()

    return read


def _tar_reader(archive: tarfile.TarFile, source: str) -> Reader:
    members: dict[str, tarfile.TarInfo] = {}
    for count, member in enumerate(archive, 1):
        if count > MAX_MEMBERS:
            raise PayloadTooLargeError(f"{source} has more than {MAX_MEMBERS} members")
        # Links and devices are no files of the data set; of a name that comes twice the last counts, as when unpacking.
        if member.isreg():
            members[str(PurePosixPath(member.name))] = member

    def read(name: str, limit: int) -> bytes | None:
        if name not in members:
            return None
        _check_size(name, members[name].size, limit)
        stream = archive.extractfile(members[name])
        data = b"" if stream is None else stream.read()
        if len(data) != members[name].size:
            raise InvalidRequestError(f"{source} ends within {name}")
        return data

    return read


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise PayloadTooLargeError(f"{name} has {size} bytes; the limit is {limit}")


def _load(read: Reader, source: str, preprocessing: Preprocessing, split: str) -> QuestionedImages:
    listing = f"{split}/questions.json"
    content = read(listing, MAX_QUESTIONS_BYTES)
    if content is None:
        raise InvalidRequestError(f"no {listing} in {source}")
    entries = _parse(content, listing)
    numbers = sorted({number for _, _, number in entries})
    size = len(numbers) * preprocessing.size**2 * 3
    if size > MAX_PIXEL_BYTES:
        raise PayloadTooLargeError(f"{len(numbers)} images of {split} make {size} bytes; at most {MAX_PIXEL_BYTES}")
    names = tuple(f"{split}/images/{number}.png" for number in numbers)
    pixels = np.empty((len(numbers), preprocessing.size, preprocessing.size, 3), dtype=np.uint8)
    for index, name in enumerate(names):
        data = read(name, MAX_BYTES)
        if data is None:
            raise InvalidRequestError(f"{listing} asks about {name}, which is not in {source}")
        try:
            pixels[index] = to_pixels(decode(data), preprocessing)
        except InvalidImageError as error:
            raise InvalidImageError(f"{name}: {error}") from None
    place = {number: index for index, number in enumerate(numbers)}
    entries.sort(key=lambda entry: entry[2])
    questions, answers, owners = zip(*entries, strict=True)
    return QuestionedImages(names, pixels, questions, answers, np.array([place[one] for one in owners], dtype=np.int64))


def _parse(content: bytes, listing: str) -> list[tuple[str, str, int]]:
    try:
        entries: Any = json.loads(content)
    # Deep nesting ends in a RecursionError, bytes that are not UTF-8 in a UnicodeDecodeError.
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"{listing} is no readable JSON: {error}") from None
    if not isinstance(entries, list) or not entries:
        raise InvalidRequestError(f"{listing} must be a list of [question, answer, image number] with one at least")
    return [_entry(entry, f"{listing}, entry {index}") for index, entry in enumerate(entries)]


def _entry(entry: Any, where: str) -> tuple[str, str, int]:
    expected = "expected [question, answer, image number]"
    if not isinstance(entry, list) or len(entry) != 3:
        raise InvalidRequestError(f"{where}: {expected}, got {str(entry)[:80]}")
    question, answer, number = entry
    if not isinstance(question, str) or not isinstance(answer, str) or type(number) is not int or number < 0:
        raise InvalidRequestError(f"{where}: {expected}, got {str(entry)[:80]}")
    for text, what in ((question, "question"), (answer, "answer")):
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidRequestError(f"{where}: the {what} is no text: it holds half a character")
        if not 1 <= len(text) <= MAX_QUESTION_CHARACTERS:
            raise InvalidRequestError(
                f"{where}: the {what} has {len(text)} characters; expected 1 to {MAX_QUESTION_CHARACTERS}"
            )
    return question, answer, number
