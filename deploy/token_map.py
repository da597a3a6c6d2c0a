"""Which patches of a photograph became which token, drawn over it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from thinwire.errors import InvalidRequestError
from thinwire.images import decode, to_png
from thinwire.rest.explanation import ExplainBody

# The longer side of the picture in pixels, as nearly as whole patches allow.
SIDE = 448
BORDER = (255, 255, 255)


def draw_groups(pixels: NDArray[np.uint8], grid: tuple[int, int], groups: Sequence[int]) -> NDArray[np.uint8]:
    """Paint each group of patches in its mean colour, with a border of one pixel between groups.

    Args:
        pixels: ``H x W x 3``, a whole number of pixels for each patch.
        grid: height and width in patches.
        groups: for each patch, row by row, its group; what is negative is in none, and stays as it is.

    Returns:
        ``H x W x 3``; the border is the first row or column of pixels of a patch whose neighbour above or to the left
        is of another group.
    """
    (height, width), members = grid, np.asarray(groups, dtype=np.int64)
    tall, wide = pixels.shape[0] // height, pixels.shape[1] // width
    patches = pixels.reshape(height, tall, width, wide, 3).mean(axis=(1, 3)).reshape(-1, 3)
    is_sent = members >= 0
    sums = np.zeros((members.max(initial=-1) + 1, 3))
    np.add.at(sums, members[is_sent], patches[is_sent])
    counts = np.bincount(members[is_sent], minlength=len(sums))[:, None]
    colours = np.rint(sums / np.maximum(counts, 1)).astype(np.uint8)
    group_of = members.reshape(grid).repeat(tall, axis=0).repeat(wide, axis=1)
    drawn = pixels.copy()
    drawn[group_of >= 0] = colours[group_of[group_of >= 0]]
    is_border = np.zeros(group_of.shape, dtype=bool)
    is_border[1:] |= group_of[1:] != group_of[:-1]
    is_border[:, 1:] |= group_of[:, 1:] != group_of[:, :-1]
    drawn[is_border] = BORDER
    return drawn


def token_map(photograph: bytes, explanation: ExplainBody) -> bytes:
    """A PNG of the part of a photograph that the model saw, drawn over by `draw_groups`.

    Args:
        photograph: the encoded image that was sent.
        explanation: what its answer explains.
    """
    height, width = explanation.grid
    cell = max(2, round(SIDE / max(height, width)))
    seen = decode(photograph).resize((width * cell, height * cell), Image.Resampling.BICUBIC, box=explanation.area)
    return to_png(draw_groups(np.asarray(seen), explanation.grid, explanation.groups))


def save(picture: bytes, path: Path) -> None:
    """Write a picture.

    Raises:
        InvalidRequestError: it cannot be written there.
    """
    try:
        path.write_bytes(picture)
    except OSError as error:
        raise InvalidRequestError(f"cannot write {path}: {error.strerror}") from None
