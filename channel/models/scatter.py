"""Gains of many scattered paths, block by block."""

import math

import numpy as np

from channel.realisation import Symbols, complex_noise, side_generator

# The whole of the largest frame, and pilots beside it.
MAX_COHERENCE = 2**22


def scattered(shape: tuple[int, ...], coherence: int, generator: np.random.Generator) -> complex | Symbols:
    """Draw gains ``h ~ CN(0, 1)``, each of which holds for ``coherence`` consecutive symbols.

    Args:
        shape: shape of the symbols, in row-major order of time.
        coherence: symbols of a block, of which the last may be cut short; 1 is fast fading; 0 is one block.

    Returns:
        one number for 0, else a complex64 array of shape ``shape``.
    """
    if not coherence:
        return complex(complex_noise((), 1.0, generator))
    count = math.prod(shape)
    drawn = complex_noise((-(-count // coherence),), 1.0, side_generator(generator))
    return np.repeat(drawn, coherence)[:count].reshape(shape)
