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
