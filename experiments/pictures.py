"""The photograph itself as a baseline: a JPEG for the whole model in the cloud."""

import numpy as np
from numpy.typing import NDArray

from experiments.digital.compressed import compress
from experiments.digital.finite_blocklength import capacity
from offline.measure.evaluator import Evaluator, Measurement
from offline.measure.judges import LabelJudge

JPEG_QUALITIES = (5, 25, 75)
BATCH = 64


def uses_of(bits: NDArray[np.int64], snr_db: float) -> NDArray[np.int64]:
    """Channel uses that a code at the capacity of AWGN takes for so many bits."""
    return np.ceil(bits / capacity(snr_db)).astype(np.int64)


def answer_jpeg(evaluator: Evaluator, quality: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The plain model on what a JPEG leaves of the images.

    Returns:
        ``n x classes`` logits, and the bits of each scan; see `compress`.
    """
    judge, pixels = evaluator.judge, evaluator.pixels
    assert isinstance(judge, LabelJudge)
    logits, bits = [], []
    for start in range(0, len(pixels), BATCH):
        files = [compress(one, "JPEG", one.shape[0], quality) for one in pixels[start : start + BATCH]]
        logits.append(judge.classifier.classify_images(np.stack([seen for _, seen in files])))
        bits += [8 * len(content) for content, _ in files]
    return np.concatenate(logits), np.array(bits, dtype=np.int64)


def measure_jpeg(evaluator: Evaluator, quality: int, snr_db: float) -> Measurement:
    """What a JPEG gives, and what it costs at capacity; the device computes nothing that is counted."""
    logits, bits = answer_jpeg(evaluator, quality)
    judge = evaluator.judge
    assert isinstance(judge, LabelJudge)
    nothing = np.zeros(len(bits), dtype=np.int64)
    return Measurement(
        logits=logits,
        right=(logits.argmax(1) == judge.labels).astype(np.int64),
        asked=judge.asked,
        tokens=nothing,
        uses=uses_of(bits, snr_db),
        capped=nothing.astype(np.bool_),
        edge_gmacs=nothing.astype(np.float64),
    )
