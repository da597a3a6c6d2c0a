"""Sound as it comes, in pieces: nothing is lost, nothing comes twice, and nobody waits for what has not come."""

import io
import os

import numpy as np
import pytest

from deploy.sounds import file_chunks, live_chunks, pieces
from tests.sounds import wav
from thinwire.errors import InvalidRequestError


def row(samples, start=0):
    return np.arange(start, start + samples, dtype=np.float32)


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((4, 4, 4), [(0, 4, False), (0, 8, False), (1, 2, False), (1, 2, True)]),
        ((5, 5), [(0, 5, False), (0, 10, True)]),
        ((25,), [(0, 10, True), (1, 10, True), (2, 5, False), (2, 5, True)]),
        ((), []),
    ],
)
def test_windows_as_they_fill(chunks, expected):
    audio = row(sum(chunks))
    parts = iter(np.split(audio, np.cumsum(chunks)[:-1])) if chunks else iter(())
    found = list(pieces(parts, 10))
    # A whole window is told once, and none is partial when it is whole.
    if chunks == (4, 4, 4):
        expected = [expected[0], expected[1], (0, 10, True), *expected[2:]]
    assert [(piece.window, len(piece.audio), piece.is_final) for piece in found] == expected
    for piece in found:
        start = 10 * piece.window
        assert np.array_equal(piece.audio, audio[start : start + len(piece.audio)])
        assert (piece.start_s, piece.end_s) == (start / 16_000, (start + len(piece.audio)) / 16_000)


def test_what_came_meanwhile_comes_at_once():
    there, here = os.pipe()
    with io.FileIO(there) as stream, io.FileIO(here, "w") as sender:
        chunks = live_chunks(stream, 4, 8)
        sender.write(np.arange(4, dtype="<i2").tobytes())
        first = next(chunks)
        # Before any more is there.
        assert np.array_equal(first * 32_768, row(4))
        sender.write(np.arange(4, 27, dtype="<i2").tobytes())
        sender.close()
        rest = list(chunks)
        assert np.array_equal(np.concatenate(rest) * 32_768, row(23, 4))
        assert len(rest) <= 6


def test_a_stream_that_is_faster_is_read_no_further():
    class Fast(io.RawIOBase):
        taken = 0

        def read(self, size=-1):
            self.taken += size
            return bytes(size)

    stream = Fast()
    chunks = live_chunks(stream, 100, 3)
    next(chunks)
    # What waits, one that is held, and what was taken.
    assert stream.taken <= 200 * (3 + 1 + 4) + 4


def test_what_is_no_sound_is_told_after_what_came_before():
    chunks = live_chunks(io.BytesIO(np.arange(9, dtype="<i2").tobytes() + b"\7"), 4, 8)
    found = []
    with pytest.raises(InvalidRequestError, match="ends within a sample"):
        found.extend(chunks)
    assert np.array_equal(np.concatenate(found) * 32_768, row(9))
    with pytest.raises(InvalidRequestError, match="empty"):
        next(live_chunks(io.BytesIO(), 4, 8))


def test_a_file_in_chunks(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(wav(np.zeros(10_000), 16_000))
    assert [len(chunk) for chunk in file_chunks(path, 4_000)] == [4_000, 4_000, 2_000]
    with pytest.raises(InvalidRequestError, match="cannot read"):
        next(file_chunks(tmp_path / "none.wav", 4_000))
