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

Written by `python -m tests.thinwire.images.page`. Each row is a set of files that the tests make, decode and compare
with what NumPy makes of their samples (`tests/thinwire/images`).

An image is a JPEG, PNG, WebP, BMP, GIF or TIFF; its first bytes decide. It may have {limits.MAX_BYTES >> 20} MiB,
{limits.MAX_PIXELS:,} pixels (WebP {limits.MAX_WEBP_PIXELS:,}) and {limits.MAX_SIDE:,} pixels a side; more is refused
with 413. It becomes 8-bit sRGB, upright, with transparency over white. Of several pages or frames the first counts.

- **Depth.** Integers are scaled by the range of their type: *n* unsigned bits from 0 to 2^n - 1, *n* signed bits from
  -2^(n-1) to 2^(n-1) - 1. Floats are scaled from 0 to 1. In a TIFF whose one sample is signed or has more than 8 bits,
  SMinSampleValue and SMaxSampleValue win over both. What is beyond the range is cut to it; NaN is its low end. Floats
  that are mostly outside of 0 to 1 are refused unless the file says what they mean.
- **Interpretation.** WhiteIsZero and BlackIsZero are obeyed at every depth.
- **Colour profiles** (ICC) are obeyed, by Little CMS, with the perceptual intent: profiles of RGB on RGB, YCbCr and
  palettes, of grey on grey, of CMYK on CMYK. A profile is ignored if it is broken, is of other colours, is of sRGB, or
  has more than {limits.MAX_PROFILE_BYTES >> 20} MiB. Also ignored: gamma, chromaticities and code points of PNG (gAMA,
  cHRM, cICP), profiles in GIF, the white point of CIELab. CMYK without a profile becomes
  255 times (1 - ink) (1 - black).
- **Orientation** is read from EXIF, or else from XMP, and from a TIFF's own tag. All other metadata are ignored, broken
  or not. Pillow never sees them.
- **Pixels.** A whole image is answered. If pixels are missing, or Pillow would decode others than the file's, the
  image is refused with 422 and the reason. libjpeg fills in what a JPEG lacks without saying so. A JPEG whose last
  pixels look filled in is therefore decoded twice, with different bytes after its data: in a whole file nobody reads
  them, so the two results are equal. A JPEG that lacks only its end marker (EOI) counts as whole.
- **Missing pixels that go unnoticed.** Only PNG has checksums. These become wrong pixels as long as the file can still
  be decoded: bytes lost or changed in the middle of a JPEG; zeros in place of the last bytes of a WebP, TIFF or BMP; a
  JPEG inside a TIFF that is too short; a BMP of run lengths that ends early. A JPEG may lack part of its last block,
  and a flat one its last restart interval. A progressive JPEG with all its scans may lack part of the last one, which
  holds the lowest bits; it is answered less sharp.
- **Whole images that are refused.** A progressive JPEG whose scans never give the lowest bit of some coefficient, which
  the standard allows and few files do. And perhaps a JPEG without its end marker whose data end in several zeros.

## Formats, modes and depths

The mode is Pillow's. The variants of a row all have the same result.
"""

METADATA_HEAD = """
## Metadata

"turned": the image is brought upright; "converted": to sRGB; "ignored": the pixels are as without the metadata.
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
