"""Equalisation: of a received frame into what the decoder takes, and its formulas for numpy and torch alike."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import InvalidFrameError
from thinwire.frames import all_finite

# Under this gain the division loses all float32 precision; such a frame is noise either way.
MIN_GAIN_POWER = 1e-12
_FLOAT32_MAX = float(np.finfo(np.float32).max)
Equaliser: TypeAlias = Literal["mmse", "zf"]


@dataclass(frozen=True)
class ReceivedTokens:
    """One frame after equalisation.

    Attributes:
        symbols: ``N x S`` complex64.
        noise_variance: variance of the noise per complex symbol after equalisation; 0 for a link without noise.
    """

    symbols: NDArray[np.complex64]
    noise_variance: float

    @property
    def digest(self) -> bytes:
        """Of all that reaches the model: a reception has no part of its own in this."""
        head = struct.pack("<QQd", *self.symbols.shape, self.noise_variance)
        digest = hashlib.blake2b(head, digest_size=16)
        digest.update(np.ascontiguousarray(self.symbols).data)
        return digest.digest()


def zero_forcing(received: Any, gain: Any, noise_variance: Any) -> tuple[Any, Any]:
    """Zero-forcing with the gain known: ``conj(h) y / |h|^2``, whose noise has the variance ``N0 / |h|^2``.

    Args:
        received: y, complex.
        gain: h, an array, a numpy scalar or a tensor of complex64, broadcast against ``received``.
        noise_variance: N0 per complex symbol, broadcast against ``gain``.

    Returns:
        the symbols, and the variance of the noise on them.
    """
    power = (gain * gain.conj()).real + MIN_GAIN_POWER
    return received * gain.conj() / power, noise_variance / power


def mmse(received: Any, gain: Any, noise_variance: Any) -> tuple[Any, Any]:
    """The linear estimate of least mean squared error for symbols of unit power: ``conj(h) y / (|h|^2 + N0)``.

    It is biased: on average a symbol comes out ``|h|^2 / (|h|^2 + N0)`` times as large as it was sent, and the mean
    squared error, ``N0 / (|h|^2 + N0)``, is what is missing from 1.

    Args:
        received: y, complex.
        gain: h, as for `zero_forcing`.
        noise_variance: N0 per complex symbol, broadcast against ``gain``.

    Returns:
        the estimates, and their mean squared errors, from 0 to 1.
    """
    missing = noise_variance + MIN_GAIN_POWER
    power = (gain * gain.conj()).real + missing
    return received * gain.conj() / power, missing / power


def weigh(received: Any, gain: Any, noise_variance: Any, mean: Callable[[Any], Any]) -> tuple[Any, Any]:
    """Weigh each symbol of a frame by what it is worth, for a decoder that takes one noise variance v for all of them.

    With x' and e of `mmse` and m = mean(1 - e), the symbols are x' / m and v = 1 / m - 1: a decoder that scales by
    1 / (1 + v) comes to x' itself.

    Args:
        received: y, complex.
        gain: h, as for `mmse`.
        noise_variance: N0 per complex symbol, as for `mmse`.
        mean: over the symbols of a frame, in a shape that broadcasts against them.

    Returns:
        the symbols, and v in the shape of ``mean``.
    """
    estimates, errors = mmse(received, gain, noise_variance)
    # A frame of which nothing arrived is all zeros, whatever they are divided by.
    scale = mean(1 - errors).clip(MIN_GAIN_POWER)
    return estimates / scale, 1 / scale - 1


def receive(
    received: NDArray[np.complex64],
    gain: complex | NDArray[np.complex64],
    noise_variance: float | NDArray[np.float32],
    equaliser: Equaliser = "mmse",
) -> ReceivedTokens:
    """Equalise a frame into what the decoder takes: symbols, and *one* variance v of the noise on them.

    The decoder scales the symbols by 1 / (1 + v), the linear MMSE estimate where gain and noise are the same for the
    whole frame; both equalisers then give the same, ``y / h`` and ``v = N0 / |h|^2``. Where they differ by symbol:

    - "zf": ``y / h`` for each, and v is the mean of their variances: one deep fade drowns the frame. What is erased
      (h = 0) is 0, and its variance counts as 1, the power that is missing.
    - "mmse": each symbol is weighed by what it is worth, so that the decoder's scale leads to the estimate of least
      mean squared error; see `weigh`.

    Args:
        received: ``N x S`` symbols as they arrived.
        gain: h, as estimated; of the frame, or ``N x S``.
        noise_variance: N0 per complex symbol, likewise.
        equaliser: which of the two.

    Raises:
        InvalidFrameError: gain or noise variance is impossible, or the result is not finite in single precision.
    """
    # Nothing to undo, as on every link that does not fade; without arrays, which are slow for single numbers.
    plain = not isinstance(gain, np.ndarray) and not isinstance(noise_variance, np.ndarray)
    if plain and gain == 1 and 0 <= noise_variance <= _FLOAT32_MAX and all_finite(received):
        return ReceivedTokens(received, float(noise_variance))
    if not np.isfinite(gain).all():
        raise InvalidFrameError(f"the reception's gain must be finite, got {_some(gain, ~np.isfinite(gain))}")
    sound = np.isfinite(noise_variance) & np.greater_equal(noise_variance, 0)
    if not sound.all():
        raise InvalidFrameError(
            f"the reception's noise variance must be finite and >= 0, got {_some(noise_variance, ~sound)}"
        )
    # In double precision, so that a deep fade does not lose the symbols before the division restores them.
    with np.errstate(over="ignore", invalid="ignore"):
        wide, variance = _equalise(received.astype(np.complex128), gain, noise_variance, equaliser)
        symbols = wide.astype(np.complex64)
    if variance > _FLOAT32_MAX or not all_finite(symbols):
        raise InvalidFrameError("the symbols are not finite after equalisation")
    return ReceivedTokens(symbols, float(variance))


def _equalise(
    received: NDArray[np.complex128],
    gain: complex | NDArray[np.complex64],
    noise_variance: float | NDArray[np.float32],
    equaliser: Equaliser,
) -> tuple[NDArray[np.complex128], float]:
    if np.ndim(gain) == 0 and np.ndim(noise_variance) == 0:
        symbols, variance = zero_forcing(received, np.complex128(gain), noise_variance)
        return symbols, float(variance)
    gains = np.broadcast_to(np.asarray(gain, np.complex128), received.shape)
    variances = np.broadcast_to(np.asarray(noise_variance, np.float64), received.shape)
    if equaliser == "zf":
        symbols, noise = zero_forcing(received, gains, variances)
        dead = np.abs(gains) ** 2 < MIN_GAIN_POWER
        return np.where(dead, 0, symbols), float(np.where(dead, 1, noise).mean())
    estimates, noise = weigh(received, gains, variances, np.mean)
    return estimates, float(noise)


def _some(values: object, wrong: object) -> object:
    """One of the wrong values, for a message."""
    return np.asarray(values)[np.asarray(wrong)].ravel()[0]
