"""The images that the client takes."""

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from thinwire.errors import InvalidImageError, InvalidRequestError

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Image: TypeAlias = "bytes | str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8]"
# Of Pillow's modes, those that PNG has.
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")


def read_image(image: Image) -> bytes:
    """The encoded image that is sent: a file's bytes as they are; pixels as PNG, which loses nothing.

    Args:
        image: the bytes of a file, its path, an image of Pillow (set upright, and in RGB where PNG has no such mode),
            or ``H x W x 3`` uint8 pixels in RGB.

    Raises:
        InvalidRequestError: the file cannot be read.
        InvalidImageError: the pixels are not of that kind.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        return read_bytes(image)
    import numpy as np
    from PIL import Image as Pillow
    from PIL import ImageOps

    from thinwire.images import to_png

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InvalidImageError(f"expected H x W x 3 uint8 pixels, got {image.shape} of {image.dtype}")
        return to_png(image)
    if not isinstance(image, Pillow.Image):
        raise InvalidImageError(f"expected bytes, a path, a Pillow image or a numpy array, got {type(image).__name__}")
    encoded = BytesIO()
    try:
        upright = ImageOps.exif_transpose(image)
        (upright if upright.mode in _PNG_MODES else upright.convert("RGB")).save(encoded, "PNG")
    except (OSError, ValueError) as error:
        raise InvalidImageError(f"the image cannot be encoded as PNG: {error}") from None
    return encoded.getvalue()


def read_bytes(path: "str | os.PathLike[str]") -> bytes:
    """The content of a file.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
