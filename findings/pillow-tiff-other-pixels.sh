#!/usr/bin/env bash
# Pillow 13.0.0 opens these valid TIFFs, as tifffile 2026.3.3 and the standard have them, without an error or a warning,
# and gives other samples than the file's:
#
#   int16, int32, float32 of one sample, big-endian, compressed (deflate): every sample with its bytes swapped. libtiff
#       has brought them to native order already; Pillow's unpackers for I;16BS, I;32BS and F;32BF swap them again.
#       uint16 is right: of all such modes it alone has a rule.
#   int8: the sign bit is a value, so that -1 is white and 1 is black.
#   uint32: beyond 2^31 - 1 samples are negative.
#   uint16, RGB, planes apart, uncompressed: the bytes of the 16-bit planes are taken for 8-bit samples.
#   uint16 and float32, WhiteIsZero: not inverted, where uint8 is; the mode is the same as of BlackIsZero.
#
# One would have guessed an error (as for float16, float64, RGB of floats), or right samples. Whoever decodes uploads of
# microscopes, satellites or scanners with Pillow serves a model noise, at status 200.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pillow==13.0.0 tifffile==2026.3.3 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import io

import numpy as np
import PIL
import tifffile
from PIL import Image


def through_pillow(samples, **options):
    file = io.BytesIO()
    tifffile.imwrite(file, samples, **options)
    assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), samples)
    return np.asarray(Image.open(io.BytesIO(file.getvalue())))


def says(name, seen):
    print(f"{name}: {'as found' if seen else 'CHANGED'}")
    assert seen


print("Pillow", PIL.__version__)
grid = np.arange(300).reshape(15, 20)
big = {"byteorder": ">", "compression": "zlib", "photometric": "minisblack"}
got = through_pillow(grid.astype("i2"), **big)
says("int16, big-endian, deflate", np.array_equal(got.astype("i2"), grid.astype("i2").byteswap()))
got = through_pillow(grid.astype("i4"), **big)
says("int32, big-endian, deflate", np.array_equal(got, grid.astype("i4").byteswap()))
got = through_pillow(grid.astype("f4"), **big)
says("float32, big-endian, deflate", np.array_equal(got.view("u4"), grid.astype("f4").view("u4").byteswap()))
says("uint16, big-endian, deflate, is right", np.array_equal(through_pillow(grid.astype("u2"), **big), grid))

signed = (grid - 128).astype("i1")
says("int8", np.array_equal(through_pillow(signed, photometric="minisblack"), signed.view("u1")))
large = np.full((15, 20), 3_000_000_000, dtype="u4")
says("uint32", (through_pillow(large, photometric="minisblack") < 0).all())

planes = np.stack([grid * 200] * 3).astype("u2")
got = through_pillow(planes, photometric="rgb", planarconfig="separate")
says("uint16 RGB, planes apart", got.dtype == np.uint8 and np.abs(got - (planes[0] >> 8)[..., None]).max() > 100)

white = {"photometric": "miniswhite"}
says("uint16, WhiteIsZero", np.array_equal(through_pillow(grid.astype("u2"), **white), grid))
says("float32, WhiteIsZero", np.array_equal(through_pillow(grid.astype("f4"), **white), grid))
eight = (grid % 256).astype("u1")
says("uint8, WhiteIsZero, is inverted", np.array_equal(through_pillow(eight, **white), 255 - eight))
PYTHON
