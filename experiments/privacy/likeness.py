"""How near a picture is to the one that it was drawn after."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

PEAK = 255


def psnr(drawn: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each image, ``10 log10(255^2 / MSE)`` in dB.

    Args:
        drawn: ``n x height x width x 3``, like ``true``.

    Returns:
        ``n`` figures, infinite for equal images.
    """
    error = np.square(drawn.astype(np.float64) - true).mean((1, 2, 3))
    with np.errstate(divide="ignore"):
        ratios: NDArray[np.float64] = 10.0 * np.log10(PEAK**2 / error)
    return ratios


def ssim(drawn: NDArray[np.uint8], true: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Structural similarity of each image, mean over windows of 7 x 7 pixels and over channels (Wang et al., 2004)."""
    compare: Any = structural_similarity
    return np.array([compare(*pair, channel_axis=-1, data_range=PEAK) for pair in zip(drawn, true, strict=True)])
