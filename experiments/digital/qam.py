"""Quadrature amplitude modulation with 5G's Gray labels, and soft decisions on it."""

from functools import cache

import numpy as np
from numpy.typing import NDArray


def modulate(bits: NDArray[np.uint8], order: int) -> NDArray[np.complex64]:
    """Map bits to symbols of unit mean power (TS 38.211, 5.1.3 to 5.1.6).

    Args:
        bits: ``n x (symbols * order)``; even ones make the real part, odd ones the imaginary part.
        order: bits per symbol.

    Returns:
        ``n x symbols`` complex64.
    """
    pairs = bits.reshape(len(bits), -1, order // 2, 2)
    weights = 2 ** np.arange(order // 2 - 1, -1, -1)
    levels = _levels(order // 2)[np.einsum("nsbi,b->nsi", pairs, weights)]
    return np.ascontiguousarray(levels, dtype=np.float32).view(np.complex64)[..., 0]


def soft_bits(received: NDArray[np.complex64], noise_variance: NDArray[np.float64], order: int) -> NDArray[np.float32]:
    """Exact log-likelihood ratios, log P(bit = 0) / P(bit = 1), for bits that are equally likely.

    Args:
        received: ``n x symbols`` after equalisation.
        noise_variance: N0 on them, above 0; broadcasts against them.
        order: bits per symbol.

    Returns:
        ``n x (symbols * order)``.
    """
    half = order // 2
    levels = _levels(half)
    parts = np.ascontiguousarray(received, dtype=np.complex64).view(np.float32).reshape(*received.shape, 2, 1)
    # Half of the noise in each part: (y - p)^2 / (2 N0 / 2).
    noise = np.broadcast_to(noise_variance, received.shape).astype(np.float32)[..., None, None]
    log_likelihood = -((parts - levels.astype(np.float32)) ** 2) / noise
    log_likelihood -= log_likelihood.max(axis=-1, keepdims=True)
    likelihood = np.exp(log_likelihood)
    labels = np.arange(len(levels))
    found = np.empty((*received.shape, half, 2), dtype=np.float32)
    for bit in range(half):
        is_one = (labels >> (half - 1 - bit)) & 1 == 1
        ones, zeros = (np.maximum(likelihood[..., mask].sum(-1), 1e-30) for mask in (is_one, ~is_one))
        found[:, :, bit] = np.log(zeros) - np.log(ones)
    return found.reshape(len(received), -1)


@cache
def _levels(bits: int) -> NDArray[np.float64]:
    """Amplitudes of one part by their label, the first bit the highest."""
    labels = np.arange(2**bits)
    level = np.zeros(2**bits)
    for bit in range(bits):
        sign = 1 - 2 * ((labels >> bit) & 1)
        level = sign * (2**bit - level) if bit else sign.astype(np.float64)
    unit: NDArray[np.float64] = level / np.sqrt(2 * (4**bits - 1) / 3)
    return unit
