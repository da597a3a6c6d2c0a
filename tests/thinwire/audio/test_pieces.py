"""A clip in windows, and a stream in chunks: nothing is lost, nothing comes twice."""

import io
import struct

import numpy as np
import pytest

from tests.sounds import float_wav, wav
from thinwire.audio import SAMPLE_RATE, WINDOW_SAMPLES, raw_chunks, windows
from thinwire.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("seconds", "starts_s"), [(0, []), (1, [0]), (30, [0]), (31, [0, 30]), (60, [0, 30]), (75.5, [0, 30, 60])]
)
def test_windows_of_30_s_hold_each_sample_once(seconds, starts_s):
    audio = np.arange(round(seconds * SAMPLE_RATE), dtype=np.float32)
    found = windows(audio)
    assert [window.start_s for window in found] == starts_s
    assert all(len(window.audio) == 480_000 == WINDOW_SAMPLES for window in found[:-1])
    np.testing.assert_array_equal(np.concatenate([np.empty(0), *(window.audio for window in found)]), audio)
    assert all(window.audio.base is audio for window in found)


class Pipe(io.BytesIO):
    """Gives what has come, as a pipe without a buffer: three bytes at most."""

    def read(self, size=-1):
        return super().read(min(size, 3))


SAMPLES = np.array([0, 1, -1, 32_767, -32_768, 16_384, -2, 3, 4, 5], "<i2")


@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
@pytest.mark.parametrize("samples", [1, 2, 3, 5, 10, 11])
def test_chunks_are_the_samples_in_order(kind, samples):
    chunks = list(raw_chunks(kind(SAMPLES.tobytes()), samples))
    assert [len(chunk) for chunk in chunks] == [len(SAMPLES[k : k + samples]) for k in range(0, 10, samples)]
    assert all(chunk.dtype == np.float32 for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate(chunks), SAMPLES / 32_768)


def test_a_chunk_comes_before_the_next_is_there():
    class Live(io.BytesIO):
        def read(self, size=-1):
            data = super().read(size)
            assert data, "waited for what has not come yet"
            return data

    chunks = raw_chunks(Live(SAMPLES.tobytes()), 5)
    assert len(next(chunks)) == 5
    assert len(next(chunks)) == 5


@pytest.mark.parametrize("samples", [1, 2, 5, 10, 20])
def test_half_a_sample_at_the_end_is_told_after_all_whole_ones(samples):
    chunks, found = raw_chunks(io.BytesIO(SAMPLES.tobytes() + b"\x07"), samples), []
    with pytest.raises(InvalidRequestError, match="ends within a sample"):
        found.extend(chunks)
    np.testing.assert_array_equal(np.concatenate(found), SAMPLES / 32_768)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\x07", "within a sample"),
        (b"RIFF....WAVE", "without samples"),
        (b"RIFF....AVI ", "begins as a WAV, and is none"),
        (wav(np.zeros(4), SAMPLE_RATE)[:12] + wav(np.zeros(4), SAMPLE_RATE)[36:], "without their format"),
        (wav(np.zeros((2, 4)), 44_100), "2 channels at 44100 Hz in 16 bits"),
        (float_wav(np.zeros(4, np.float32), SAMPLE_RATE), "1 channels at 16000 Hz in 32 bits"),
        (wav(np.zeros(0), SAMPLE_RATE), "empty"),
    ],
)
def test_what_is_no_raw_sound_gives_nothing(data, reason):
    with pytest.raises(InvalidRequestError, match=reason):
        next(raw_chunks(io.BytesIO(data), 4))


@pytest.mark.parametrize("promised", [20, 0, 2**32 - 1, 2**31, 12])
@pytest.mark.parametrize("kind", [io.BytesIO, Pipe])
def test_a_wav_is_taken_as_a_microphone_writes_it(kind, promised):
    file = bytearray(wav(SAMPLES / 32_767, SAMPLE_RATE))
    struct.pack_into("<I", file, 40, promised)
    # Other chunks may stand in front of the samples, and behind them where their number is told.
    behind = b"LIST\3\0\0\0abc\0" if promised in (20, 12) else b""
    data = bytes(file[:36]) + b"LIST\3\0\0\0abc\0" + bytes(file[36:]) + behind
    chunks = list(raw_chunks(kind(data), 4))
    expected = np.frombuffer(wav(SAMPLES / 32_767, SAMPLE_RATE)[44:], "<i2")[: 6 if promised == 12 else 10] / 32_768
    np.testing.assert_array_equal(np.concatenate(chunks), expected)
