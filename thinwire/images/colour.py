"""Colour profiles: from the colours that a file means to sRGB, which models are trained on. By Little CMS."""

import io

import numpy as np
from PIL import Image, ImageCms

# What a profile calls its colours, by the mode that they are in.
_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK", "LAB": "Lab"}
# Profiles of devices and of colour spaces; others join two spaces, name colours, or are no source.
_CLASSES = ("scnr", "mntr", "prtr", "spac")
# Of 255. What changes no colour by more is sRGB, which comes with as many roundings as there are writers of it.
_SAME = 3


def to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """What converts an image of a mode (L, RGB, CMYK or LAB) to sRGB as a profile says, perceptually.

    Returns:
        nothing where the profile is missing, broken, of other colours than the mode's, or sRGB itself.
    """
    if mode == "LAB":
        # Its colours mean themselves; D50 is their white unless a profile says otherwise, and few do.
        return _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), mode)
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != _SPACES[mode] or source.profile.device_class not in _CLASSES:
            return None
        transform = _transform(source, mode)
        return None if _changes_nothing(transform, mode) else transform
    # Whatever Little CMS or its wrapper makes of a broken profile, the pixels are whole.
    except Exception:
        return None


def _transform(source: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    return ImageCms.ImageCmsTransform(source, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL)


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    if mode == "CMYK":
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    if mode == "L":
        sample = Image.fromarray(levels[None])
    else:
        grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1)
        sample = Image.fromarray(np.ascontiguousarray(grid.reshape(len(levels), -1, 3)))
    changed = np.asarray(transform.apply(sample), dtype=np.int16)
    return bool(np.abs(changed - np.asarray(sample.convert("RGB"), dtype=np.int16)).max() <= _SAME)
