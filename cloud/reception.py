"""From what the channel delivered to what the decoder takes."""

import math

import numpy as np
from numpy.typing import NDArray

from cloud.answerer import ReceivedTokens
from thinwire.equalise import zero_forcing
from thinwire.errors import InvalidFrameError

_FLOAT32_MAX = float(np.finfo(np.float32).max)


def receive(received: NDArray[np.complex64], gain: complex, noise_variance: float) -> ReceivedTokens:
    """Equalise a frame.

    Args:
        received: ``N x S`` symbols as they arrived.
        gain: h of the frame, as estimated.
        noise_variance: N0 per complex symbol.

    Raises:
        InvalidFrameError: gain or noise variance is impossible, or the result is not finite in single precision.
    """
    if not (math.isfinite(gain.real) and math.isfinite(gain.imag)):
        raise InvalidFrameError(f"the reception's gain must be finite, got {gain}")
    if not (math.isfinite(noise_variance) and noise_variance >= 0):
        raise InvalidFrameError(f"the reception's noise variance must be finite and >= 0, got {noise_variance}")
    if gain == 1 and noise_variance <= _FLOAT32_MAX and np.isfinite(received.view(np.float32)).all():
        # Nothing to undo, as on every link that does not fade.
        return ReceivedTokens(received, noise_variance)
    # In double precision, so that a deep fade does not lose the symbols before the division restores them.
    with np.errstate(over="ignore", invalid="ignore"):
        wide, variance = zero_forcing(received.astype(np.complex128), np.complex128(gain), noise_variance)
        symbols = wide.astype(np.complex64)
    if variance > _FLOAT32_MAX or not np.isfinite(symbols.view(np.float32)).all():
        raise InvalidFrameError(f"the symbols are not finite after equalisation with the gain {gain}")
    return ReceivedTokens(symbols, float(variance))
