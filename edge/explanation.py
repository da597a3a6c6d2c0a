"""What the device tells of how an image or clip was sent, to those who ask."""

import math

import numpy as np
from numpy.typing import NDArray

from edge.answer import Answer
from thinwire.bundle import Bundle
from thinwire.rest.explanation import ExplainBody

# An answer of more would be megabytes of text.
MAX_SYMBOLS = 16_384
# Of float32, of which the mean power is 1.
DECIMALS = 6


def explain(bundle: Bundle, answer: Answer) -> ExplainBody:
    """How the image or clip of an answer was sent.

    Args:
        bundle: that answered.
        answer: of a request with ``explain``.
    """
    encoded, prefix = answer.encoded, bundle.prefix_tokens
    side = math.isqrt(bundle.patches) if answer.area else 0
    return ExplainBody(
        grid=(side, side) if side**2 == bundle.patches else (1, bundle.patches),
        area=answer.area,
        groups=np.maximum(encoded.merge_map - prefix, -1).tolist(),
        sizes=encoded.sizes[prefix:].tolist(),
        tokens_per_layer=list(encoded.tokens_per_layer),
        sent=_pairs(encoded.symbols),
        received=None if answer.received is None else _pairs(answer.received),
        snr_db=answer.snr_db,
    )


def _pairs(symbols: NDArray[np.complex64]) -> list[tuple[float, float]]:
    first = symbols.ravel()[:MAX_SYMBOLS].astype(np.complex128)
    return list(zip(first.real.round(DECIMALS).tolist(), first.imag.round(DECIMALS).tolist(), strict=True))
