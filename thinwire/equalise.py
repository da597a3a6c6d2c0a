"""Equalisation of a received frame, for numpy arrays and torch tensors alike."""

from typing import Any

# Under this gain the division loses all float32 precision; such a frame is noise either way.
MIN_GAIN_POWER = 1e-12


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
