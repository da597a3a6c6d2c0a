"""Spoken digits, recording by recording, and utterances of six of them, to transcribe."""

import hashlib
import io
import re
import tarfile
import wave
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from offline.data.images import in_select
from thinwire.audio import SAMPLE_RATE
from thinwire.errors import InvalidRequestError

DIGITS = 6
PAUSE_S = 0.2
# As in the Free Spoken Digit Dataset: digit, speaker, number.
NAME = re.compile(r"([0-9])_([^_/]+)_[0-9]+\.wav")
MAX_BYTES = 4 * 2**20
MAX_MEMBERS = 200_000

Recordings = Mapping[str, NDArray[np.float32]]
"""By the names of their files, samples at 16 kHz, full scale from -1 to 1."""


@dataclass(frozen=True)
class Utterance:
    """Some digits that one speaker says.

    Attributes:
        name: keys the noise of an evaluation.
        speaker: who.
        digits: which, in order.
        audio: samples at 16 kHz.
    """

    name: str
    speaker: str
    digits: tuple[int, ...]
    audio: NDArray[np.float32]


def load_recordings(source: str) -> Recordings:
    """Read a tar of recordings, ``digit_speaker_number.wav``, each of one channel of 16 bits at any rate.

    Raises:
        InvalidRequestError: there is no such tar, or a file in it has another name or is no such recording.
    """
    found: dict[str, NDArray[np.float32]] = {}
    try:
        with tarfile.open(source, "r:") as archive:
            for count, member in enumerate(archive):
                if count == MAX_MEMBERS:
                    raise InvalidRequestError(f"{source}: expected up to {MAX_MEMBERS} files")
                if not member.isfile():
                    continue
                name = PurePosixPath(member.name).name
                if not NAME.fullmatch(name) or name in found or member.size > MAX_BYTES:
                    raise InvalidRequestError(
                        f"{source}: expected recordings digit_speaker_number.wav up to {MAX_BYTES} bytes, each once, "
                        f"got {member.name!r} of {member.size}"
                    )
                stream = archive.extractfile(member)
                assert stream is not None
                found[name] = _read_wav(f"{source}: {name}", stream.read())
    except (tarfile.TarError, OSError) as error:
        raise InvalidRequestError(f"{source}: expected an uncompressed tar of recordings: {error}") from None
    if not found:
        raise InvalidRequestError(f"{source}: expected recordings digit_speaker_number.wav, got none")
    return found


def split_select(recordings: Recordings) -> tuple[Recordings, Recordings]:
    """Split a training source into *train* and *select*, as `offline.data.images.split_select` splits images."""
    train = {name: audio for name, audio in recordings.items() if not in_select(name)}
    return train, {name: audio for name, audio in recordings.items() if name not in train}


def make_utterance(recordings: Recordings, number: int, digits: int = DIGITS) -> Utterance:
    """Recordings of one speaker with pauses of 0.2 s, a function of the number and the recordings' names alone.

    Speakers take turns, in order of their names. Of the speaker's recordings those are taken, in that order, whose
    names come first by BLAKE2b of ``number name`` (8 bytes).

    Raises:
        InvalidRequestError: the speaker has fewer.
    """
    of: dict[str, list[str]] = defaultdict(list)
    for name in recordings:
        of[_parse(name)[1]].append(name)
    speaker = sorted(of)[number % len(of)]
    names = sorted(of[speaker], key=lambda name: hashlib.blake2b(f"{number} {name}".encode(), digest_size=8).digest())
    if len(names) < digits:
        raise InvalidRequestError(f"expected {digits} recordings of {speaker} or more, got {len(names)}")
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    parts = [part for name in names[:digits] for part in (pause, recordings[name])][1:]
    said = tuple(_parse(name)[0] for name in names[:digits])
    return Utterance(f"{speaker}/{number:04d}", speaker, said, np.concatenate(parts))


def _parse(name: str) -> tuple[int, str]:
    match = NAME.fullmatch(Path(name).name)
    if match is None:
        raise InvalidRequestError(f"expected digit_speaker_number.wav, got {name!r}")
    return int(match[1]), match[2]


def _read_wav(name: str, data: bytes) -> NDArray[np.float32]:
    try:
        with wave.open(io.BytesIO(data)) as file:
            channels, width, rate, frames = file.getparams()[:4]
            raw = file.readframes(frames)
    except (wave.Error, EOFError) as error:
        raise InvalidRequestError(f"{name}: expected a WAV file: {str(error) or 'it ends early'}") from None
    if (channels, width) != (1, 2) or not 1_000 <= rate <= 192_000:
        raise InvalidRequestError(f"{name}: expected 1 channel of 2 bytes, got {channels} of {width} at {rate} Hz")
    if not frames or len(raw) != 2 * frames:
        raise InvalidRequestError(f"{name}: cut short: expected {frames} samples, got {len(raw) // 2}")
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / 2**15
    shared = gcd(rate, SAMPLE_RATE)
    resampled: NDArray[np.float32] = resample_poly(samples, SAMPLE_RATE // shared, rate // shared).astype(np.float32)
    return resampled
