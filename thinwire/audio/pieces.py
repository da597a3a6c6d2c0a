"""Sound in pieces: a long clip in windows, a stream in chunks."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinwire.audio.log_mel import POSITIONS, SAMPLE_RATE, SAMPLES_PER_POSITION
from thinwire.errors import InvalidRequestError

# What Whisper hears at once: 30 s.
WINDOW_SAMPLES = POSITIONS * SAMPLES_PER_POSITION


class Window(NamedTuple):
    """Part of a clip.

    Attributes:
        start_s: where it starts in the clip, in seconds.
        audio: its samples, a view.
    """

    start_s: float
    audio: NDArray[np.float32]


def windows(audio: NDArray[np.float32], samples: int = WINDOW_SAMPLES) -> list[Window]:
    """A clip in windows of one length, the last one shorter: each sample is in one window, a word may be cut in two.

    Args:
        audio: a row at 16 kHz.
        samples: of a window.
    """
    return [Window(start / SAMPLE_RATE, audio[start : start + samples]) for start in range(0, len(audio), samples)]


def raw_chunks(stream: BinaryIO, samples: int) -> Iterator[NDArray[np.float32]]:
    """The chunks of a stream of raw sound: 16 kHz, mono, int16, little endian.

    A chunk comes when it is whole; the last one may be shorter. So a chunk waits for its own samples and for no others.

    Args:
        stream: as standard input's `buffer`. One without a buffer, which reads less than it was asked for, will do.
        samples: of a chunk.

    Yields:
        rows, full scale from -1 to 1.

    Raises:
        InvalidRequestError: there is nothing, or a WAV, or half a sample at the end; that comes after all whole ones.
    """
    is_first = True
    while True:
        data = _read(stream, 2 * samples)
        if is_first and data[:4] == b"RIFF":
            raise InvalidRequestError("this is a WAV, and not raw int16 samples at 16 kHz")
        if is_first and not data:
            raise InvalidRequestError("no audio: the stream is empty")
        is_first = False
        whole = len(data) // 2
        if whole:
            yield np.frombuffer(data, "<i2", whole).astype(np.float32) / np.float32(32_768)
        if len(data) % 2:
            raise InvalidRequestError("the stream ends within a sample: it is not int16, or it was cut off")
        if whole < samples:
            return


def _read(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or all up to the end."""
    parts = bytearray()
    while len(parts) < size and (part := stream.read(size - len(parts))):
        parts += part
    return bytes(parts)
