"""What is left out of a picture's file is the same for all, and the receiver can put it back."""

import io

import numpy as np
import pytest
from PIL import Image

from experiments.digital.compressed import QUALITIES, PictureSource, compress, forms
from tests.experiments.digital.parts import images_of, never_kept
from tests.parts import random_pixels


def picture(seed: int) -> np.ndarray:
    """A smooth picture of 32 x 32 with some noise."""
    generator = np.random.default_rng(seed)
    small = Image.fromarray(generator.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    smooth = np.asarray(small.resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    return np.clip(smooth + generator.integers(-8, 8, smooth.shape), 0, 255).astype(np.uint8)


def file_of(pixels: np.ndarray, form: str, size: int, quality: int) -> bytes:
    stream, image = io.BytesIO(), Image.fromarray(pixels)
    scaled = image if size == 32 else image.resize((size, size), Image.Resampling.LANCZOS)
    scaled.save(stream, form, quality=quality, **({"method": 6} if form == "WEBP" else {}))
    return stream.getvalue()


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(("form", "size"), forms(32))
def test_a_picture_comes_back_with_another_ones_headers(form: str, size: int, quality: int) -> None:
    sent, seen = compress(picture(0), form, size, quality)
    other = file_of(picture(1), form, size, quality)
    if form == "JPEG":
        scan = compress(picture(1), form, size, quality)[0]
        # A frame ends in zeros.
        whole = other[: -2 - len(scan)] + sent + bytes(9)
    else:
        chunk = len(sent) + 7
        # RIFF wants chunks of even length.
        whole = other[:4] + (chunk + 12 + chunk % 2).to_bytes(4, "little") + other[8:16] + chunk.to_bytes(4, "little")
        whole += sent[:3] + other[23:30] + sent[3:] + bytes(chunk % 2)
    decoded = Image.open(io.BytesIO(whole)).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(np.asarray(decoded), seen)
    assert len(sent) < len(file_of(picture(0), form, size, quality))


def test_each_image_takes_the_finest_quality_that_fits() -> None:
    pixels = random_pixels(8)
    source = PictureSource(images_of(pixels), images_of(pixels), 0, never_kept)
    coded = source.encode(2000)
    assert coded.sent.all()
    form, size = source.option(2000).split(" of ")
    assert source.score(2000) >= source.score(100)
    for image, row in enumerate(coded.bits):
        number = int((row[:3].astype(int) << np.arange(3)).sum())
        content, _ = compress(pixels[image], form, int(size[:2]), QUALITIES[number])
        assert np.packbits(row[3:])[: len(content)].tobytes() == content
        assert number == 0 or 8 * len(compress(pixels[image], form, int(size[:2]), QUALITIES[number - 1])[0]) + 3 > 2000
    assert not source.encode(20).sent.any()
    assert (source.answers(2000, coded.bits[:2]) == -1).all()
