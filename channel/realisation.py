"""One draw of a channel, and the one function that sends symbols through it."""

import math
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Symbols: TypeAlias = NDArray[np.complex64]
Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Realisation(Generic[Array]):
    """What a channel does to one frame, or to a batch of frames.

    A channel model draws it for numpy. For training, put tensors in its fields: one frame per leading index, and
    ``batch x 1 x 1`` where one number holds for the frame.

    Attributes:
        gain: complex gain h; a number, or an array that broadcasts against the symbols. A symbol that is erased has
            the gain 0.
        noise: complex64 array of the symbols' shape.
        noise_variance: N0, the variance of the noise per complex symbol; a number, or a real array like ``gain``.
        phase_error: factors of magnitude 1 that turn the symbols and of which no receiver is told; an array like
            ``gain``, or None.
        clip: amplitude at which the sender's amplifier limits what it sends; a number, or in a batch a real array of
            one for each frame, all of them finite.
    """

    gain: complex | Array
    noise: Array
    noise_variance: float | Any
    phase_error: Array | None = None
    clip: float | Any = math.inf


def apply(symbols: Array, realisation: Realisation[Array]) -> Array:
    """Send symbols through a channel: ``y = h e^{j phi} c(x) + n``, where c is `clipped`.

    Args:
        symbols: complex64 array or tensor x, of the shape of the realisation's noise.

    Returns:
        y, of the same kind, shape and dtype, not equalised.
    """
    # No library is named here, so that numpy in the proxy and torch in training share these operators.
    gain: Any = realisation.gain
    is_linear = isinstance(realisation.clip, float) and realisation.clip == math.inf
    if not is_linear:
        symbols = clipped(symbols, realisation.clip)
    if realisation.phase_error is not None:
        gain = gain * realisation.phase_error
    received: Array = gain * symbols + realisation.noise
    return received


def clipped(symbols: Array, amplitude: float | Any) -> Array:
    """A soft limiter: ``c(x) = x min(1, A / |x|)``, which keeps the phase.

    Args:
        symbols: complex array or tensor.
        amplitude: A, above 0; a number, or an array that broadcasts against the symbols.
    """
    given: Any = symbols
    magnitude = abs(given)
    excess = (magnitude - amplitude) * (magnitude > amplitude)
    limited: Array = given * (amplitude / (amplitude + excess))
    return limited
