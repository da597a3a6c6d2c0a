"""Decoding of images that may be hostile, and the preprocessing that a bundle asks for. No torch."""

from thinwire.images.decoding import FORMATS, decode, decode_apart
from thinwire.images.limits import MAX_BYTES, MAX_PIXELS, MAX_SIDE, MAX_WEBP_PIXELS
from thinwire.images.preprocessing import (
    MAX_ASPECT,
    RESAMPLING,
    Area,
    Preprocessing,
    area_of,
    normalise,
    to_pixels,
    to_png,
)

__all__ = [
    "FORMATS",
    "MAX_ASPECT",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MAX_WEBP_PIXELS",
    "RESAMPLING",
    "Area",
    "Preprocessing",
    "area_of",
    "decode",
    "decode_apart",
    "normalise",
    "to_pixels",
    "to_png",
]
