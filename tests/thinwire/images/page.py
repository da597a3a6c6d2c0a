"""Write `docs/images.md`: what becomes of every file of the cases.

.venv/bin/python -m tests.thinwire.images.page > docs/images.md
"""

from itertools import groupby

import numpy as np

from tests.thinwire.images import cases, metadata_cases
from thinwire.errors import InvalidImageError
from thinwire.images import decode, limits
from thinwire.images.decoding import open_image

HEAD = f"""# Images that are taken

Written by `python -m tests.thinwire.images.page`: each row is a set of files that the tests make, decode and compare
with what NumPy makes of the samples in them (`tests/thinwire/images`).

An image is JPEG, PNG, WebP, BMP, GIF or TIFF, told by its first bytes; of {limits.MAX_BYTES >> 20} MiB,
{limits.MAX_PIXELS:,} pixels (WebP {limits.MAX_WEBP_PIXELS:,}) and {limits.MAX_SIDE:,} pixels a side at most; more is
refused with 413. It becomes 8-bit sRGB, upright, with transparency over white. Of several pages or frames the first
counts.

- **Depth.** Integers are scaled by the range of their type: of *n* unsigned bits from 0 to 2^n - 1, of *n* signed ones
  from -2^(n-1) to 2^(n-1) - 1. Floats are scaled from 0 to 1. SMinSampleValue and SMaxSampleValue of a TIFF with one
  sample of more than 8 bits or with a sign go before either. What is beyond the range is cut to it; NaN is its low
  end. Floats most of which are beyond 0 to 1 are refused unless the file says what they mean.
- **Interpretation.** WhiteIsZero and BlackIsZero are obeyed at every depth.
- **Colour profiles** (ICC) are obeyed, by Little CMS, perceptually: those of RGB on RGB, YCbCr and palettes, those of
  grey on grey, those of CMYK on CMYK. A profile that is broken, of other colours, or of more than
  {limits.MAX_PROFILE_BYTES >> 20} MiB is ignored, and so is one of sRGB. Not looked at: gamma, chromaticities and
  code points of PNG (gAMA, cHRM, cICP), profiles in GIF, the white point of CIELab. CMYK without a profile is what ink
  leaves of white: 255 times (1 - ink) (1 - black).
- **Orientation** is read from EXIF, or else from XMP, and from a TIFF's own tag. All other metadata are ignored,
  broken or not, whatever the mode of the pixels: Pillow does not even get to see them.
- **Pixels** that are whole are answered. Where some are missing, or Pillow would decode others than the file's, the
  image is refused with 422 and the reason. libjpeg makes up what a JPEG lacks and does not say so: one whose last
  pixels look like that is decoded a second time, with other bytes behind its data, which nobody reads where nothing is
  missing. A JPEG that lacks nothing but its end (EOI) is whole.
- **Missing pixels that nobody notices.** Only PNG has checksums. Bytes that are lost or changed in the middle of a
  JPEG, or zeros in place of the last bytes of a WebP, TIFF or BMP, become wrong pixels as long as the file can still
  be decoded; so does a JPEG inside a TIFF that is shorter than it should be, and a BMP of run lengths that ends early.
  A JPEG may lack a part of its last block, and a flat one its last interval of restarts. A progressive JPEG all of
  whose scans are there may lack a part of the last one, which says the lowest bits: it is answered less sharp. On the
  other side, a progressive JPEG is refused whose scans never say the lowest bit of some coefficient, which the
  standard allows and few files do, and so may be a JPEG without its end whose data end with several zeros.

## Formats, modes and depths

The mode is Pillow's. Variants differ in what makes no difference.
"""

METADATA_HEAD = """
## Metadata

"turned": the image is brought upright; "converted": to sRGB; "ignored": the pixels are those without.
"""


def table(*rows):
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows)


def of_case(case):
    """One row: what `decode` makes of the files."""
    parts = dict.fromkeys(part for name in case.files for part in name.split(", ") if part)
    refusals, modes = {}, {}
    for data in case.files.values():
        try:
            pixels = np.asarray(decode(data), dtype=np.float64)
        except InvalidImageError as error:
            refusals[str(error)] = None
            continue
        assert np.abs(pixels - case.expected).max() <= case.tolerance
        modes[open_image(data).image.mode] = None
    assert bool(refusals) != bool(modes)
    result = f"refused: {next(iter(refusals))}" if refusals else "taken"
    return case.form, case.samples, ", ".join(modes) or "-", ", ".join(parts), result


def of_metadata(case):
    plain, pixels = (np.asarray(decode(data)) for data in (case.plain, case.data))
    if np.array_equal(pixels, plain):
        return "ignored"
    return "turned" if np.array_equal(pixels, np.rot90(plain, -1)) else "converted"


def page():
    columns = ("Format", "Samples", "Mode", "Variants", "Result")
    lines = [HEAD, table(columns, ["---"] * 5, *(of_case(case) for case in cases.CASES))]
    rows = []
    order = sorted(metadata_cases.CASES, key=lambda case: case.metadata)
    for metadata, same in groupby(order, key=lambda case: case.metadata):
        effects = {}
        for case in same:
            effects.setdefault(of_metadata(case), []).append(case.form)
        rows += [(metadata, ", ".join(forms), effect) for effect, forms in effects.items()]
    lines += [METADATA_HEAD, table(("Metadata", "Formats", "Effect"), ["---"] * 3, *rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
