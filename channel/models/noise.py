"""Circular complex Gaussian noise, in the convention that all models share."""

import math

import numpy as np

from channel.realisation import Symbols


def noise_variance(snr_db: float) -> float:
    """N0 = 10^(-SNR/10), the noise variance per complex symbol, for an SNR (Es/N0) in dB and Es = 1."""
    return float(10.0 ** (-snr_db / 10.0))


def complex_noise(shape: tuple[int, ...], variance: float, generator: np.random.Generator) -> Symbols:
    """Draw CN(0, ``variance``): half of the variance per real dimension, real and imaginary parts in turn.

    The draws run in row-major order, so that a frame with fewer tokens meets the beginning of the same noise.

    Returns:
        a complex64 array of shape ``shape``.
    """
    parts = generator.standard_normal((*shape, 2)) * math.sqrt(variance / 2)
    return parts.astype(np.float32).view(np.complex64)[..., 0]


def side_generator(generator: np.random.Generator) -> np.random.Generator:
    """A generator for what a model draws per symbol ahead of the noise.

    It takes 128 bits from ``generator``, whatever is drawn from it afterwards: so the noise that follows does not
    depend on how many gains a frame needs, and a frame with fewer tokens meets the beginning of both.
    """
    return np.random.Generator(np.random.Philox(key=generator.integers(0, 2**64, size=2, dtype=np.uint64)))
