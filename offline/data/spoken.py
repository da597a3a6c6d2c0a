"""Utterances to train on: random digits of one speaker, with pauses, loudness and noise drawn for each."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from offline.data.digits import NAME, Recordings
from thinwire.audio import SAMPLE_RATE

DIGITS = (1, 8)
PAUSE_S = (0.05, 0.6)
GAIN_DB = (-20.0, 6.0)
# Power of the speech over that of the noise.
NOISE_SNR_DB = (10.0, 50.0)


def random_utterance(recordings: Recordings, generator: np.random.Generator) -> NDArray[np.float32]:
    """Digits of one speaker between pauses, under noise that is white or as strong in each octave as in the next.

    Args:
        recordings: named ``digit_speaker_number.wav``.
        generator: of all that is drawn.

    Returns:
        samples at 16 kHz, from -1 to 1.
    """
    of: dict[str, list[str]] = defaultdict(list)
    for name in sorted(recordings):
        match = NAME.fullmatch(name)
        assert match is not None
        of[match[2]].append(name)
    speaker = sorted(of)[generator.integers(len(of))]
    count = int(generator.integers(DIGITS[0], DIGITS[1] + 1))
    chosen = generator.choice(of[speaker], count)
    pauses = [np.zeros(round(seconds * SAMPLE_RATE)) for seconds in generator.uniform(*PAUSE_S, count + 1)]
    parts = [part for pause, name in zip(pauses, chosen, strict=False) for part in (pause, recordings[name])]
    speech = np.concatenate([*parts, pauses[-1]])
    speech = speech / max(float(np.abs(speech).max()), 1e-6)
    power = float(np.square(speech).mean())
    noise = _noise(len(speech), bool(generator.integers(2)), generator)
    heard = speech + noise * np.sqrt(power * 10 ** (-generator.uniform(*NOISE_SNR_DB) / 10))
    gain = 10 ** (generator.uniform(*GAIN_DB) / 20)
    clip: NDArray[np.float32] = np.clip(gain * heard, -1, 1).astype(np.float32)
    return clip


def _noise(samples: int, is_pink: bool, generator: np.random.Generator) -> NDArray[np.float64]:
    """Of power 1."""
    noise = generator.normal(size=samples)
    if is_pink:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        noise = np.fft.irfft(spectrum, samples)
    scaled: NDArray[np.float64] = noise / np.sqrt(np.square(noise).mean())
    return scaled
