"""From what Pillow decodes to 8-bit RGB: depth, colour, transparency, by bands."""

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from thinwire.errors import InvalidImageError
from thinwire.images import limits
from thinwire.images.colour import Conversion


@dataclass(frozen=True)
class Grey:
    """What samples of one channel mean that Pillow does not hold as 8-bit grey.

    Attributes:
        dtype: of a sample, as NumPy names it.
        low, high: the samples that are black and white, or white and black.
        is_inverted: the low end is white.
        is_swapped: Pillow's samples have their bytes in the wrong order.
        must_fit: refuse an image most of whose samples are outside of the range.
        clear: the sample whose pixels are clear, or none.
    """

    dtype: str
    low: float
    high: float
    is_inverted: bool = False
    is_swapped: bool = False
    must_fit: bool = False
    clear: int | None = None


SIXTEEN_BITS = Grey("u2", 0.0, 65_535.0)


def with_clear(grey: Grey, clear: tuple[int, ...]) -> Grey:
    """The same with a clear sample, if there is one."""
    return dataclasses.replace(grey, clear=clear[0]) if clear else grey


def to_rgb(image: Image.Image, grey: Grey | None, conversion: Conversion | None) -> Image.Image:
    """Convert to 8-bit RGB, with transparency over white.

    Args:
        image: as Pillow decoded it.
        grey: what its samples mean, if that is not what Pillow takes them for.
        conversion: from its colours, as `colours_of` names them, to sRGB, or none.

    Raises:
        InvalidImageError: the samples are out of their range.
    """
    if image.mode == "RGB" and not image.has_transparency_data and conversion is None:
        return image
    # Samples are scaled as numbers of 64 bits.
    rows = max(1, limits.BAND_PIXELS // (image.width * (4 if grey is not None else 1)))
    whole = Image.new("RGB", image.size)
    outside = 0
    for top in range(0, image.height, rows):
        band = image.crop((0, top, image.width, min(top + rows, image.height)))
        alpha = None
        if grey is not None:
            band, alpha, beyond = _grey_band(band, grey)
            outside += beyond
        elif band.has_transparency_data:
            band, alpha = _without_alpha(band)
        band = band.convert("RGB") if conversion is None else conversion(band.convert(colours_of(image)))
        whole.paste(band if alpha is None else _over_white(band, alpha), (0, top))
    if grey is not None and grey.must_fit and 2 * outside > image.width * image.height:
        raise InvalidImageError(
            f"mode {image.mode}: most samples are outside of {grey.low:g} to {grey.high:g}, and the file does not say "
            "what they mean (SMinSampleValue, SMaxSampleValue)"
        )
    return whole


def colours_of(image: Image.Image) -> str:
    """What colours a band of an image is in before it becomes RGB: L, RGB, CMYK or LAB."""
    if image.mode in ("CMYK", "LAB"):
        return image.mode
    return "L" if image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;") else "RGB"


def _grey_band(band: Image.Image, grey: Grey) -> tuple[Image.Image, Image.Image | None, int]:
    """Its grey, its transparency, and how many of its samples are no numbers of the range."""
    samples: NDArray[np.generic] = np.asarray(band)
    samples = samples.astype(samples.dtype.newbyteorder("="))
    if grey.is_swapped:
        samples = samples.byteswap()
    values = samples.view(grey.dtype).astype(np.float64)
    inside = np.count_nonzero((values >= grey.low) & (values <= grey.high)) if grey.must_fit else values.size
    alpha = None
    if grey.clear is not None:
        alpha = Image.fromarray(np.where(values == grey.clear, 0, 255).astype(np.uint8))
    np.clip(values, grey.low, grey.high, out=values)
    # What is no number counts as the low end.
    np.nan_to_num(values, copy=False, nan=grey.low)
    values -= grey.high if grey.is_inverted else grey.low
    values *= 255 / (grey.low - grey.high if grey.is_inverted else grey.high - grey.low)
    return Image.fromarray(np.rint(values, out=values).astype(np.uint8)), alpha, values.size - int(inside)


def _without_alpha(band: Image.Image) -> tuple[Image.Image, Image.Image]:
    if band.mode == "La":
        band = band.convert("LA")
    whole = band.convert("RGBA")
    return whole.convert("L" if colours_of(band) == "L" else "RGB"), whole.getchannel("A")


def _over_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    colours.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
