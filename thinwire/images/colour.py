"""From what Pillow decodes to 8-bit sRGB, which models are trained on: depth, transparency, and colours by profile.

Little CMS converts what a profile describes; the rest is done here, by bands.
"""

import dataclasses
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from thinwire.errors import InvalidImageError
from thinwire.images import limits

# From an image of one mode (L, RGB, CMYK or LAB) to its RGB, pixel by pixel.
Conversion = Callable[[Image.Image], Image.Image]

# What a profile calls its colours, by the mode that they are in.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Profiles of devices and of colour spaces; others join two spaces, name colours, or are no source.
_CLASSES = ("scnr", "mntr", "prtr", "spac")
# Of 255. What changes no colour by more is sRGB, which comes with as many roundings as there are writers of it.
_SAME = 3


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


def to_rgb(image: Image.Image, grey: Grey | None, profile: bytes) -> Image.Image:
    """Convert to 8-bit RGB, with transparency over white.

    Args:
        image: as Pillow decoded it.
        grey: what its samples mean, if that is not what Pillow takes them for.
        profile: of its colours (ICC), or nothing.

    Raises:
        InvalidImageError: the samples are out of their range.
    """
    conversion = _to_srgb(profile, _colours_of(image))
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
        band = band.convert("RGB") if conversion is None else conversion(band.convert(_colours_of(image)))
        whole.paste(band if alpha is None else _over_white(band, alpha), (0, top))
    if grey is not None and grey.must_fit and 2 * outside > image.width * image.height:
        raise InvalidImageError(
            f"mode {image.mode}: most samples are outside of {grey.low:g} to {grey.high:g}, and the file does not say "
            "what they mean (SMinSampleValue, SMaxSampleValue)"
        )
    return whole


def _colours_of(image: Image.Image) -> str:
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
    return whole.convert("L" if _colours_of(band) == "L" else "RGB"), whole.getchannel("A")


def _over_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    colours.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")


def _to_srgb(profile: bytes, mode: str) -> Conversion | None:
    """What converts an image of a mode (L, RGB, CMYK or LAB) to sRGB as a profile says, perceptually.

    Returns:
        nothing where the profile is missing, broken, of other colours than the mode's, or sRGB itself.
    """
    if mode == "LAB":
        # Its colours need no profile; D50 is their white unless a file says otherwise, and few do.
        return _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), mode).apply
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode] or source.profile.device_class not in _CLASSES:
            return None
        conversion = _by_table(source) if mode == "L" else _transform(source, mode).apply
        return None if _changes_nothing(conversion, mode) else conversion
    # Whatever Little CMS or its wrapper makes of a broken profile, the pixels are whole.
    except Exception:
        return None


def _transform(
    source: ImageCms.ImageCmsProfile, mode: str, flags: ImageCms.Flags = ImageCms.Flags.NONE
) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(source, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=flags)


def _by_table(source: ImageCms.ImageCmsProfile) -> Conversion:
    """Of grey: Little CMS takes 33 levels for all 256 unless it may not precompute, and is slow then."""
    levels = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    colours = np.asarray(_transform(source, "L", ImageCms.Flags.NOOPTIMIZE).apply(levels))[0]
    return lambda image: Image.fromarray(colours[np.asarray(image)])


def _changes_nothing(conversion: Conversion, mode: str) -> bool:
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    sample = Image.fromarray(levels[None] if mode == "L" else np.ascontiguousarray(grid))
    changed = np.asarray(conversion(sample), dtype=np.int16)
    return bool(np.abs(changed - np.asarray(sample.convert("RGB"), dtype=np.int16)).max() <= _SAME)
