"""Sound in pieces: a long clip in windows, a stream in chunks."""

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from thinwire.audio.log_mel import POSITIONS, SAMPLE_RATE, SAMPLES_PER_POSITION
from thinwire.errors import InvalidRequestError

# What Whisper hears at once: 30 s.
WINDOW_SAMPLES = POSITIONS * SAMPLES_PER_POSITION
# Of a WAV, in front of its samples: a chunk that says it has more is no sound.
_MOST_HEADER = 2**20
# WAVE_FORMAT_PCM, and WAVE_FORMAT_EXTENSIBLE, in which 16 bits are integers.
_INTEGERS = (1, 0xFFFE)


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


class _Stream:
    """A stream of which the start was read already.

    Args:
        stream: the rest of it.
        start: that was read.
        most: bytes that it has at most; None: any number.
    """

    def __init__(self, stream: BinaryIO, start: bytes, most: int | None = None) -> None:
        self._stream, self._start, self._most = stream, start, most

    def read(self, size: int) -> bytes:
        """So many bytes, or all up to the end."""
        size = size if self._most is None else min(size, self._most)
        data, self._start = self._start[:size], self._start[size:]
        data += _read(self._stream, size - len(data))
        if self._most is not None:
            self._most -= len(data)
        return data


def raw_chunks(stream: BinaryIO, samples: int) -> Iterator[NDArray[np.float32]]:
    """The chunks of a stream of sound as a microphone gives it: 16 kHz, mono, int16, little endian, bare or as a WAV.

    A chunk comes when it is whole; the last one may be shorter. So a chunk waits for its own samples and for no others.

    Args:
        stream: as standard input's `buffer`. One without a buffer, which reads less than it was asked for, will do.
        samples: of a chunk.

    Yields:
        rows, full scale from -1 to 1.

    Raises:
        InvalidRequestError: there is nothing, or a WAV of another kind, or half a sample at the end; that comes after
            all whole ones.
    """
    start = _read(stream, 4)
    source = _Stream(stream, b"", _wav_bytes(stream)) if start == b"RIFF" else _Stream(stream, start)
    is_first = True
    while True:
        data = source.read(2 * samples)
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


def _wav_bytes(stream: BinaryIO) -> int | None:
    """Read a WAV up to its samples, behind the first four bytes.

    Returns:
        bytes of samples at most; None where the header does not know.

    Raises:
        InvalidRequestError: there are none, or others than `raw_chunks` takes.
    """
    if _read(stream, 8)[4:] != b"WAVE":
        raise InvalidRequestError("the stream begins as a WAV, and is none")
    has_format = False
    while len(head := _read(stream, 8)) == 8:
        name, size = struct.unpack("<4sI", head)
        if name == b"data" and has_format:
            # What writes to a pipe does not know, and says none or more than there will be.
            return size or None
        content = _read(stream, min(size + size % 2, _MOST_HEADER))
        if name == b"fmt " and len(content) >= 16:
            has_format = True
            form, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
            if form not in _INTEGERS or (channels, rate, bits) != (1, SAMPLE_RATE, 16):
                raise InvalidRequestError(
                    f"the stream is a WAV of {channels} channels at {rate} Hz in {bits} bits; "
                    "a stream takes one channel at 16000 Hz in 16 bits, a file any"
                )
    raise InvalidRequestError("the stream is a WAV without samples, or without their format in front of them")


def _read(stream: BinaryIO, size: int) -> bytes:
    """So many bytes, or all up to the end."""
    parts = bytearray()
    while len(parts) < size and (part := stream.read(size - len(parts))):
        parts += part
    return bytes(parts)
