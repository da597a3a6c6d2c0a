"""Clips to train on: digits of one speaker or sentences, with pauses, silence, loudness and noise drawn for each."""

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from offline.data.digits import NAME, Recordings
from offline.data.sentences import random_sentence
from thinwire.audio import SAMPLE_RATE

SENTENCES = (1, 4)
PAUSE_S = (0.05, 0.6)
GAIN_DB = (-20.0, 6.0)
# Power of the speech over that of the noise.
NOISE_SNR_DB = (10.0, 50.0)
# Of the clips, those in which somebody is silent at first, and those with a long pause.
LATE, BROKEN = 0.25, 0.15


class SpokenClips:
    """Random clips.

    Args:
        recordings: named ``digit_speaker_number.wav``.
        digits: fewest and most of a clip.
        read: share of the clips that are sentences, which a synthesiser reads.
        longest_s: of a clip.
    """

    def __init__(self, recordings: Recordings, digits: tuple[int, int], read: float, longest_s: float) -> None:
        of: dict[str, list[str]] = defaultdict(list)
        for name in sorted(recordings):
            match = NAME.fullmatch(name)
            assert match is not None
            of[match[2]].append(name)
        self._recordings = recordings
        self._names = [of[speaker] for speaker in sorted(of)]
        self._digits_of = digits
        self._read = read
        self._longest = round(longest_s * SAMPLE_RATE)

    def __call__(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """Speech between pauses, under noise that is white or as strong in each octave as in the next.

        Args:
            generator: of all that is drawn.

        Returns:
            samples at 16 kHz, from -1 to 1.
        """
        parts = self._sentences(generator) if generator.random() < self._read else self._digits(generator)
        pauses = generator.uniform(*PAUSE_S, len(parts) + 1)
        spare = self._longest - sum(map(len, parts)) - round(SAMPLE_RATE * pauses.sum())
        if spare > 0 and generator.random() < LATE:
            pauses[0] += generator.uniform() * spare / SAMPLE_RATE
        elif spare > 0 and generator.random() < BROKEN:
            pauses[generator.integers(len(pauses))] += generator.uniform() * spare / SAMPLE_RATE
        silence = [np.zeros(round(seconds * SAMPLE_RATE), np.float32) for seconds in pauses]
        mixed = [part for pair in zip(silence, parts, strict=False) for part in pair]
        speech = np.concatenate([*mixed, silence[-1]])[: self._longest]
        speech = speech / max(float(np.abs(speech).max()), 1e-6)
        power = float(np.square(speech[speech != 0]).mean()) if speech.any() else 1.0
        noise = _noise(len(speech), bool(generator.integers(2)), generator)
        heard = speech + noise * np.sqrt(power * 10 ** (-generator.uniform(*NOISE_SNR_DB) / 10))
        gain = 10 ** (generator.uniform(*GAIN_DB) / 20)
        clip: NDArray[np.float32] = np.clip(gain * heard, -1, 1).astype(np.float32)
        return clip

    def _digits(self, generator: np.random.Generator) -> list[NDArray[np.float32]]:
        names = self._names[generator.integers(len(self._names))]
        fewest, most = self._digits_of
        # As many short ones as long ones, by octaves.
        count = int(np.exp(generator.uniform(np.log(fewest), np.log(most + 1))))
        return [self._recordings[name] for name in generator.choice(names, count)]

    def _sentences(self, generator: np.random.Generator) -> list[NDArray[np.float32]]:
        return [random_sentence(generator) for _ in range(generator.integers(SENTENCES[0], SENTENCES[1] + 1))]


def _noise(samples: int, is_pink: bool, generator: np.random.Generator) -> NDArray[np.float64]:
    """Of power 1."""
    noise = generator.normal(size=samples)
    if is_pink:
        spectrum = np.fft.rfft(noise)
        spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
        noise = np.fft.irfft(spectrum, samples)
    scaled: NDArray[np.float64] = noise / np.sqrt(np.square(noise).mean())
    return scaled
