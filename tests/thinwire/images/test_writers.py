"""Files of other writers than Pillow and the tests' own: tifffile's, and photographs with their makers' profiles."""

import io
from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image

from tests.thinwire.images import profiles
from tests.thinwire.images import references as ref
from tests.thinwire.images.making import whole
from thinwire.errors import InvalidImageError
from thinwire.images import decode

PICTURES = Path(skimage.__file__).parent / "data"


def written(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f2", "f4"])
@pytest.mark.parametrize("interpretation", ["minisblack", "miniswhite"])
def test_grey_of_tifffile(dtype, interpretation):
    samples = whole(dtype)
    span = (0, 1) if dtype[0] == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    expected = ref.scaled(samples, *span, interpretation == "miniswhite")
    for order in "<>":
        for compression in (None, "zlib"):
            for layout in ({}, {"tile": (16, 16)}, {"rowsperstrip": 7}, {"bigtiff": True}):
                data = written(samples, byteorder=order, compression=compression, photometric=interpretation, **layout)
                assert np.abs(np.asarray(decode(data)) - expected).max() <= 1, (order, compression, layout)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4"])
def test_stacks_of_imagej_show_their_first_picture(dtype):
    samples = whole(dtype)
    most = 1 if dtype == "f4" else np.iinfo(dtype).max
    data = written(np.stack([samples, np.zeros_like(samples)]), imagej=True)
    assert np.abs(np.asarray(decode(data)) - ref.scaled(samples, 0, most)).max() <= 1


def test_planes_of_more_than_8_bits_are_refused_by_name():
    with pytest.raises(InvalidImageError, match=r"TIFF of 3 x 16-bit unsigned samples, RGB, .*planes apart"):
        decode(written(np.moveaxis(whole("u2", 3), -1, 0), photometric="rgb", planarconfig="separate"))


def test_a_photograph_in_adobe_rgb():
    data = (PICTURES / "rocket.jpg").read_bytes()
    stored = np.asarray(Image.open(io.BytesIO(data)))
    expected = profiles.of_wide(stored)
    inside = ((expected > 8) & (expected < 247)).all(-1)
    assert inside.mean() > 0.5
    difference = np.abs(np.asarray(decode(data)) - expected)[inside]
    assert difference.mean() < 0.5
    assert difference.max() <= 4


def test_grey_of_a_print_shop_becomes_darker():
    data = (PICTURES / "page.png").read_bytes()
    stored = np.asarray(Image.open(io.BytesIO(data)), dtype=np.float64)
    decoded = np.asarray(decode(data), dtype=np.float64)
    # "Dot Gain 20%": one level of grey becomes one other.
    for level in np.unique(stored):
        assert len(np.unique(decoded[stored == level], axis=0)) == 1
    assert 10 < np.abs(decoded[..., 0] - stored).mean() < 20
