"""Pictures as a source: JPEG and WebP, at the resolution and quality that do best."""

import io
import math
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from experiments.digital.features import SharedImages
from experiments.digital.source import Coded, Kept, Source

# Format and share of the size. Smaller WebP files of small pictures are in no range of bits as good as JPEG; of large
# ones only small files fit a frame.
SMALL = (("JPEG", 1.0), ("WEBP", 1.0), ("JPEG", 3 / 4), ("JPEG", 1 / 2))
LARGE = (("JPEG", 1.0), ("JPEG", 1 / 2), ("JPEG", 1 / 4), ("WEBP", 1 / 4), ("JPEG", 1 / 8))
LARGEST_SMALL = 64
# Finest first.
QUALITIES = (95, 80, 60, 40, 20, 10, 5, 1)


def forms(size: int) -> list[tuple[str, int]]:
    """Formats and sizes that are tried for pictures of this height and width."""
    shares = SMALL if size <= LARGEST_SMALL else LARGE
    return [(form, max(1, round(share * size))) for form, share in shares]


def compress(pixels: NDArray[np.uint8], form: str, size: int, quality: int) -> tuple[bytes, NDArray[np.uint8]]:
    """One picture as a file, and what the receiver sees of it.

    What is the same for all pictures of one format, size and quality is known at both ends and left out: of a JPEG all
    tables and headers, which leaves the entropy-coded scan; of a WebP the containers' headers, start code and size (RFC
    6386, 9.1), which leaves the frame tag and the partitions. Neither needs its length, since the frame has one.

    Args:
        pixels: ``height x width x 3``.
        form: "JPEG" or "WEBP".
        size: height and width to which it is scaled down.
        quality: 1 to 100.

    Returns:
        what is sent, and ``height x width x 3`` pixels after decoding and scaling up again.
    """
    height, width = pixels.shape[:2]
    image = Image.fromarray(pixels)
    scaled = image if size == height else image.resize((size, size), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    scaled.save(stream, form, quality=quality, **({"method": 6} if form == "WEBP" else {}))
    content = stream.getvalue()
    seen = Image.open(io.BytesIO(content)).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    return _scan(content) if form == "JPEG" else content[20:23] + content[30:], np.asarray(seen)


def _scan(content: bytes) -> bytes:
    """A JPEG between the header of its scan and its end (ITU-T T.81, B.1.1)."""
    position = 2
    while content[position + 1] != 0xDA:
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")
    return content[position + 2 + int.from_bytes(content[position + 2 : position + 4], "big") : -2]


class PictureSource(Source):
    """See `experiments.digital.source.Source`.

    An option is a format and a size; each image takes the finest quality that fits, and says which in 3 bits.

    Args:
        select: what to choose on.
        test: what to send.
        guess: the class that is said where nothing arrived.
        kept: for what was measured on *select*.
    """

    _HEAD = math.ceil(math.log2(len(QUALITIES)))

    def __init__(self, select: SharedImages, test: SharedImages, guess: int, kept: Kept) -> None:
        self._test = test
        self._coded = cache(self._encode)
        options = []
        for form, side in forms(select.pixels.shape[1]):
            found = kept(f"picture, {form} {side}: select", partial(self._measure, form, side, select))
            bits = np.array(found["bits"], dtype=np.float64) + self._HEAD
            options.append(((form, side), bits, np.array(found["right"], dtype=np.float64)))
        super().__init__("picture", options, (select.labels == guess).astype(np.float64))

    def option(self, payload: int) -> str:
        """See `Source`."""
        form, size = self.best(payload)[0]
        return f"{form} of {size} x {size}"

    def encode(self, payload: int) -> Coded:
        """See `Source`."""
        return self._coded(payload)

    def answers(self, payload: int, bits: NDArray[np.uint8]) -> NDArray[np.int64]:
        """See `Source`: a broken picture is not decoded, and counts as wrong."""
        return np.full(len(bits), -1)

    def _encode(self, payload: int) -> Coded:
        form, size = self.best(payload)[0]
        bits = np.zeros((len(self._test), payload), dtype=np.uint8)
        sent = np.zeros(len(self._test), dtype=np.bool_)
        seen = np.zeros_like(self._test.pixels)
        for image, pixels in enumerate(self._test.pixels):
            for number, quality in enumerate(QUALITIES):
                content, decoded = compress(pixels, form, size, quality)
                if 8 * len(content) + self._HEAD <= payload:
                    head = (number >> np.arange(self._HEAD)) & 1
                    row = np.concatenate((head, np.unpackbits(np.frombuffer(content, dtype=np.uint8))))
                    bits[image, : len(row)], seen[image], sent[image] = row, decoded, True
                    break
        return Coded(bits, sent, self._test.classify(seen).argmax(axis=1))

    @staticmethod
    def _measure(form: str, size: int, select: SharedImages) -> dict[str, list[list[int]]]:
        """Bits and right answers, ``qualities x images``."""
        bits, right = [], []
        for quality in QUALITIES:
            files = [compress(pixels, form, size, quality) for pixels in select.pixels]
            bits.append([8 * len(content) for content, _ in files])
            answers = select.classify(np.stack([seen for _, seen in files])).argmax(axis=1)
            right.append((answers == select.labels).astype(int).tolist())
        return {"bits": bits, "right": right}
