"""Rotary positions of merged tokens: the angles of the centre of a token's patches.

Every rotary embedding of images turns pairs of channels by angles that are linear in row and column, whatever its
frequencies (Su et al., 2021, "RoFormer"; Heo et al., 2024, "Rotary position embedding for vision transformer"). So one
plane per channel, read off the library's own table of sines and cosines, gives the angles anywhere between patches.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Largest difference of any sine or cosine from the library's own.
TOLERANCE = 1e-4


def homogeneous_grid(height: int, width: int) -> Tensor:
    """``patches x 3``: 1, row and column of each patch, in raster order.

    A prefix token has three zeros, and so an angle of zero, which turns nothing.
    """
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack((torch.ones(height, width), rows.float(), columns.float()), dim=-1).flatten(0, 1)


def planes(sines: Tensor, cosines: Tensor, height: int, width: int) -> Tensor:
    """The angles of a table as linear functions of the homogeneous grid.

    Args:
        sines: ``... x patches x A`` in raster order.
        cosines: likewise.
        height: rows of the grid.
        width: its columns.

    Returns:
        ``... x 3 x A`` float32: ``homogeneous_grid @ planes`` are the angles, but for whole turns.

    Raises:
        ValueError: the angles are not linear in row and column.
    """
    sine, cosine = (part.detach().cpu().double().numpy() for part in (sines, cosines))
    angles = np.arctan2(sine, cosine).reshape(*sine.shape[:-2], height, width, sine.shape[-1])
    down, right = _slope(angles, -3), _slope(angles, -2)
    fitted = np.stack((angles[..., 0, 0, :], down, right), axis=-2)
    table = homogeneous_grid(height, width).double().numpy() @ fitted
    error = max(np.abs(np.sin(table) - sine).max(), np.abs(np.cos(table) - cosine).max())
    # Written so that NaN fails too.
    if not error <= TOLERANCE:
        raise ValueError(f"expected rotary angles that are linear in row and column, got ones {error:.2g} off")
    return torch.from_numpy(fitted).float()


def _slope(angles: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """The mean step along an axis, of the first row or column."""
    first = np.take(angles, 0, axis=-2 if axis == -3 else -3)
    if first.shape[-2] < 2:
        return np.zeros(first[..., 0, :].shape)
    turned = np.unwrap(first, axis=-2)
    slope: NDArray[np.float64] = (turned[..., -1, :] - turned[..., 0, :]) / (first.shape[-2] - 1)
    return slope


def rotation(centres: Tensor, plane: Tensor) -> tuple[Tensor, Tensor]:
    """Sines and cosines at centres.

    Args:
        centres: ``batch x n x 3`` means of the homogeneous grid.
        plane: ``3 x A``, or ``heads x 3 x A``.

    Returns:
        two of ``batch x heads x n x A``, or with 1 for the heads.
    """
    angles = centres[:, None] @ plane.to(centres)
    return angles.sin(), angles.cos()


def turn(x: Tensor, turned: tuple[Tensor, Tensor], half: bool) -> Tensor:
    """Turn ``batch x heads x n x A`` queries or keys; ``half`` pairs channels half the width apart, else neighbours."""
    sine, cosine = turned
    if half:
        first, second = x.chunk(2, dim=-1)
        across = torch.cat((-second, first), dim=-1)
    else:
        across = torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
    return x * cosine + across * sine
