"""One draw of a channel, and the one function that sends symbols through it."""

from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Symbols: TypeAlias = NDArray[np.complex64]
Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Realisation(Generic[Array]):
    """What a channel does to one frame, or to a batch of frames.

    A channel model draws it for numpy. For training, put complex64 tensors in its fields: one frame per leading index,
    with a gain of shape ``batch x 1 x 1``.

    Attributes:
        gain: complex gain h; a number, or an array that broadcasts against the symbols.
        noise: complex64 array of the symbols' shape.
        noise_variance: N0, the variance of the noise per complex symbol; a number, or an array like ``gain``.
    """

    gain: complex | Array
    noise: Array
    noise_variance: float | Array


def apply(symbols: Array, realisation: Realisation[Array]) -> Array:
    """Send symbols through a channel: ``y = h x + n``.

    Args:
        symbols: complex64 array or tensor x, of the shape of the realisation's noise.

    Returns:
        y, of the same kind, shape and dtype, not equalised.
    """
    # No library is named here, so that numpy in the proxy and torch in training share these operators.
    gain: Any = realisation.gain
    received: Array = gain * symbols + realisation.noise
    return received
