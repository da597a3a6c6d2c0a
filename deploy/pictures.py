"""Pictures one after the other: the frames of videos, and the images of folders."""

import io
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES, MAX_PIXELS

if TYPE_CHECKING:
    from av import VideoFrame

# By their suffix; any other file is taken for a video.
MEDIA_TYPES = {
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}
# A playlist may wait for files that never come.
TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Picture:
    """One encoded image.

    Attributes:
        name: of its file, with the time within it where that is a video.
        media_type: "image/png" and the like.
        data: as the edge takes it.
    """

    name: str
    media_type: str
    data: bytes


def pictures_of(sources: Iterable[Path]) -> Iterator[Picture]:
    """The pictures of some files and folders, read as they are asked for.

    Args:
        sources: images as they are, videos frame by frame, and folders of images in the order of their names.

    Raises:
        InvalidRequestError: a file cannot be read, or there is no picture in one of the sources.
        InvalidImageError: a file is no video, or is broken from here on.
        PayloadTooLargeError: the frames of a video are too large.
        ModuleNotFoundError: a video, where the package av is not installed.
    """
    for source in sources:
        found = False
        for picture in _folder(source) if source.is_dir() else _file(source):
            found = True
            yield picture
        if not found:
            raise InvalidRequestError(f"no pictures in {source}")


def _folder(folder: Path) -> Iterator[Picture]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise InvalidRequestError(f"cannot read {folder}: {error.strerror}") from None
    for path in paths:
        if path.suffix.lower() in MEDIA_TYPES and path.is_file():
            yield from _file(path)


def _file(path: Path) -> Iterator[Picture]:
    # What is no regular file, as a pipe, could keep its reader waiting for ever.
    if not path.is_file():
        raise InvalidRequestError(f"cannot read {path}: no such file or folder")
    if (media_type := MEDIA_TYPES.get(path.suffix.lower())) is None:
        yield from _frames(path)
        return
    try:
        # One byte more than the edge takes: it says so itself.
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from None
    yield Picture(path.name, media_type, data)


def _frames(path: Path) -> Generator[Picture]:
    """The frames of a video, upright; one is held at a time."""
    import av

    try:
        # Named so, and with that list, the file reaches nothing but files: a playlist could name anything.
        with av.open(
            f"file:{path}", options={"protocol_whitelist": "file"}, timeout=TIMEOUT_S, metadata_errors="replace"
        ) as container:
            if not container.streams.video:
                raise InvalidImageError(f"{path} has no video")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InvalidImageError(f"{path} has a video that no decoder here reads")
            if stream.width * stream.height > MAX_PIXELS:
                raise PayloadTooLargeError(
                    f"{path} has frames of {stream.width} x {stream.height} pixels; the limit is {MAX_PIXELS}"
                )
            # A later frame may be larger than the header says.
            stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
            for number, frame in enumerate(container.decode(stream)):
                place = f"{frame.time:.2f} s" if frame.time is not None else f"frame {number}"
                yield _encoded(frame, f"{path.name} at {place}")
    except av.error.FFmpegError as error:
        raise InvalidImageError(f"{path} cannot be read as a video: {error.strerror}") from None


def _encoded(frame: "VideoFrame", name: str) -> Picture:
    image = Image.fromarray(frame.to_ndarray(format="rgb24"))
    if frame.rotation:
        image = image.rotate(frame.rotation, expand=True)
    # BMP loses nothing and takes a fraction of the time of PNG; what is too large for the edge that way is rare.
    kind = "BMP" if 3 * image.width * image.height < 0.99 * MAX_BYTES else "JPEG"
    stream = io.BytesIO()
    try:
        image.save(stream, kind, quality=95)
    except OSError as error:
        raise InvalidImageError(f"{name}: a frame of {image.width} x {image.height} pixels: {error}") from None
    return Picture(name, f"image/{kind.lower()}", stream.getvalue())
