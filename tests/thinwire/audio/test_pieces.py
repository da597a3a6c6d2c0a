"""A clip in windows, and a stream in chunks: nothing is lost, nothing comes twice."""

import io

import numpy as np
import pytest

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


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"\x07", "within a sample"), (b"RIFF....WAVE", "a WAV")])
def test_what_is_no_raw_sound_gives_nothing(data, reason):
    with pytest.raises(InvalidRequestError, match=reason):
        next(raw_chunks(io.BytesIO(data), 4))
