"""Equalisation of a received frame, for numpy arrays and torch tensors alike."""

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Under this gain the division loses all float32 precision; such a frame is noise either way.
MIN_GAIN_POWER = 1e-12


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

    It is biased: in the mean a symbol comes out ``|h|^2 / (|h|^2 + N0)`` times as large as it was sent, and the mean
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
