"""Sound as it comes: in chunks, and in what is to be written down of it so far."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from thinwire.audio import MAX_BYTES, SAMPLE_RATE, decode, raw_chunks
from thinwire.errors import InvalidRequestError


@dataclass(frozen=True)
class Piece:
    """What is to be written down of a stream.

    Attributes:
        window: its number, from 0.
        start_s: where the window starts in the stream, in seconds.
        audio: of the window so far: a row at 16 kHz.
        is_final: whether no more will come.
    """

    window: int
    start_s: float
    audio: NDArray[np.float32]
    is_final: bool

    @property
    def end_s(self) -> float:
        """Where it ends so far, in seconds."""
        return self.start_s + len(self.audio) / SAMPLE_RATE


def pieces(chunks: Iterator[NDArray[np.float32]], window: int) -> Iterator[Piece]:
    """Windows of a stream: each once it is whole, or the stream ends; before that, what has come of it by each chunk.

    Args:
        chunks: rows at 16 kHz.
        window: samples of a window.
    """
    number, audio = 0, np.zeros(0, np.float32)
    for chunk in chunks:
        audio = np.concatenate((audio, chunk))
        while len(audio) >= window:
            yield Piece(number, number * window / SAMPLE_RATE, audio[:window], True)
            number, audio = number + 1, audio[window:]
        if len(audio):
            yield Piece(number, number * window / SAMPLE_RATE, audio, False)
    if len(audio):
        yield Piece(number, number * window / SAMPLE_RATE, audio, True)


def file_chunks(path: Path, samples: int) -> Iterator[NDArray[np.float32]]:
    """A sound file in chunks.

    Raises:
        InvalidRequestError: it cannot be read or decoded.
        PayloadTooLargeError, ModuleNotFoundError: as for `thinwire.audio.decode`.
    """
    try:
        with path.open("rb") as file:
            # One byte more than is taken.
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {path}: {error.strerror}") from None
    audio = decode(data)
    for start in range(0, len(audio), samples):
        yield audio[start : start + samples]


def live_chunks(stream: BinaryIO, samples: int, most: int) -> Iterator[NDArray[np.float32]]:
    """A stream as `thinwire.audio.raw_chunks` takes it: at once all that came since the last one was taken.

    Args:
        stream: read in a thread.
        samples: that come together at least, but at the end.
        most: chunks of so many that wait; a stream that is faster is read no further meanwhile.

    Raises:
        InvalidRequestError: as for `raw_chunks`, after all that came before it.
    """
    waiting: queue.Queue[NDArray[np.float32] | BaseException | None] = queue.Queue(most)

    def read() -> None:
        try:
            for chunk in raw_chunks(stream, samples):
                waiting.put(chunk)
            waiting.put(None)
        # Whoever takes the chunks is told.
        except BaseException as error:
            waiting.put(error)

    # A daemon: it may wait for a microphone when everything else has ended.
    threading.Thread(target=read, daemon=True).start()
    while True:
        taken = [waiting.get()]
        while not waiting.empty():
            taken.append(waiting.get())
        if came := [one for one in taken if isinstance(one, np.ndarray)]:
            yield np.concatenate(came)
        last = taken[-1]
        if isinstance(last, BaseException):
            raise last
        if last is None:
            return
