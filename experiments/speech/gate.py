"""Trimming by voice activity: a gate by energy."""

import numpy as np
from numpy.typing import NDArray

from thinwire.audio import SAMPLE_RATE

FRAME = SAMPLE_RATE // 50
# Below the loudest frame, and how many frames around one that is heard are kept.
FLOOR_DB, AROUND = -40.0, 5


def gated(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """What is left of a clip without its silence, the rest joined.

    A frame of 20 ms is heard that is at most 40 dB below the loudest, and 100 ms are kept around it.

    Args:
        audio: samples at 16 kHz; one at least.
    """
    frames = -(-len(audio) // FRAME)
    padded = np.pad(audio.astype(np.float64), (0, frames * FRAME - len(audio)))
    energy = np.square(padded.reshape(frames, FRAME)).mean(axis=1)
    is_heard = energy >= energy.max() * 10 ** (FLOOR_DB / 10)
    kept = np.convolve(is_heard, np.ones(2 * AROUND + 1), mode="full")[AROUND:-AROUND] > 0.5
    return audio[np.repeat(kept, FRAME)[: len(audio)]]
