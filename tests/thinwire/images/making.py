"""What the cases are made of: samples, files of Pillow's, and what they must look like."""

import io
from typing import NamedTuple

import numpy as np

HEIGHT, WIDTH = 20, 23


class Case(NamedTuple):
    """Files that differ in what should make no difference.

    Attributes:
        form: the format.
        samples: what the pixels are.
        files: a file by what it differs in.
        expected: 8-bit RGB as floats, or None where the files are refused.
        tolerance: how far a channel may be away.
        reason: what the refusal must say.
    """

    form: str
    samples: str
    files: dict
    expected: np.ndarray | None = None
    tolerance: float = 1.0
    reason: str = ""


def whole(dtype, *shape):
    """Random samples over the whole range of a type; of floats, 0 to 1."""
    generator = np.random.default_rng(7)
    shape = (HEIGHT, WIDTH, *shape)
    if np.dtype(dtype).kind == "f":
        return generator.random(shape).astype(dtype)
    span = np.iinfo(dtype)
    return generator.integers(span.min, span.max, shape, dtype=dtype, endpoint=True)


def some(most, *shape, dtype=np.uint8):
    return np.random.default_rng(8).integers(0, most, (HEIGHT, WIDTH, *shape), dtype=dtype, endpoint=True)


def smooth(channels=3):
    """What JPEG and WebP keep nearly as it is."""
    x, y = np.meshgrid(np.linspace(0, 1, WIDTH), np.linspace(0, 1, HEIGHT))
    values = np.stack([40 + 180 * x, 200 - 150 * y, 60 + 90 * x * y, 30 + 40 * y], axis=-1)
    return values[..., :channels].round().astype(np.uint8)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
