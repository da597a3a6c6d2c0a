"""Colour profiles: from the colours that a file means to sRGB, which models are trained on. By Little CMS."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageCms

# From an image of one mode (L, RGB, CMYK or LAB) to its RGB, pixel by pixel.
Conversion = Callable[[Image.Image], Image.Image]

# What a profile calls its colours, by the mode that they are in.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
# Profiles of devices and of colour spaces; others join two spaces, name colours, or are no source.
_CLASSES = ("scnr", "mntr", "prtr", "spac")
# Of 255. What changes no colour by more is sRGB, which comes with as many roundings as there are writers of it.
_SAME = 3


def to_srgb(profile: bytes, mode: str) -> Conversion | None:
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
