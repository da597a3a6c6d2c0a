"""Whisper's log-mel features (Radford et al., 2022, section 2.2) in NumPy: those of OpenAI's code and transformers'."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thinwire.errors import InvalidRequestError

SAMPLE_RATE = 16_000
WINDOW, HOP = 400, 160
# Of which the encoder's second convolution makes one position: 20 ms.
FRAMES_PER_POSITION = 2
SAMPLES_PER_POSITION = FRAMES_PER_POSITION * HOP
POSITIONS = 1_500
# Of power; and how far below the loudest value of a clip, in powers of ten, another counts.
FLOOR, RANGE = 1e-10, 8.0


def log_mel(audio: NDArray[Any], mel_bins: int = 80, positions: int | None = POSITIONS) -> NDArray[np.float32]:
    """The features of one clip.

    A window of 25 ms (Hann) every 10 ms, its power in mel bands up to 8 kHz, the logarithm of base 10 cut off at 8
    below the loudest, plus 4, over 4.

    Args:
        audio: samples at 16 kHz, mono, full scale from -1 to 1.
        mel_bins: bands; 80, or 128 for the large models from the third on.
        positions: of the encoder, 20 ms each, that silence behind the audio fills; None for as few as hold it.

    Returns:
        ``mel_bins x (2 positions)``.

    Raises:
        InvalidRequestError: the audio is not one row of finite numbers, is empty, or longer than its positions.
    """
    if audio.ndim != 1 or not len(audio) or audio.dtype.kind != "f" or not np.isfinite(audio).all():
        raise InvalidRequestError(f"audio: expected a row of finite numbers, got {audio.dtype} of {audio.shape}")
    length = SAMPLES_PER_POSITION * (-(-len(audio) // SAMPLES_PER_POSITION) if positions is None else positions)
    if len(audio) > length:
        raise InvalidRequestError(f"audio: expected up to {length} samples, got {len(audio)}")
    padded = np.zeros(length)
    padded[: len(audio)] = audio
    padded = np.pad(padded, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[:length:HOP]
    # Periodic, as of a window that is one longer.
    spectrum = np.fft.rfft(frames * np.hanning(WINDOW + 1)[:-1])
    power = spectrum.real**2 + spectrum.imag**2
    logarithm = np.log10(np.maximum(_bands(mel_bins) @ power.T, FLOOR))
    cut = np.maximum(logarithm, logarithm.max() - RANGE)
    features: NDArray[np.float32] = ((cut + 4) / 4).astype(np.float32)
    return features


@lru_cache(maxsize=4)
def _bands(mel_bins: int) -> NDArray[np.float64]:
    """Triangles of equal area, ``mel_bins x (WINDOW / 2 + 1)``, on the mel scale of Slaney's Auditory Toolbox (1998).

    That is linear up to 1 kHz, 15 mels, and then logarithmic, 27 mels for each factor of 6.4.
    """
    mels = np.linspace(0, 15 + 27 * np.log(SAMPLE_RATE / 2 / 1000) / np.log(6.4), mel_bins + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))[:, None]
    low, middle, high = edges[:-2], edges[1:-1], edges[2:]
    frequencies = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    rising, falling = (frequencies - low) / (middle - low), (high - frequencies) / (high - middle)
    bands: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return bands
