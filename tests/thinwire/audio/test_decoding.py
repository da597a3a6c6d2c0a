"""Sound files of every kind against what they were made of, and what is no sound file or only part of one."""

import asyncio
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sounds import encoded, float_wav, silent_flac, tone, wav
from thinwire.audio import SAMPLE_RATE, decode, decode_apart, decoding
from thinwire.audio.decoder import MAX_MEMORY_BYTES, RefusedError
from thinwire.audio.decoder import decode as decode_here
from thinwire.errors import InvalidRequestError, PayloadTooLargeError

FREQUENCY, LEVEL = 440.0, 0.5
SECOND = tone(FREQUENCY, SAMPLE_RATE)


def here(data: bytes, form: str, max_seconds: float = 60) -> NDArray[np.float32]:
    """What the process does, without the time that it takes to start."""
    return np.frombuffer(b"".join(decode_here(data, form, SAMPLE_RATE, max_seconds)), np.float32)


def check_tone(samples: NDArray[np.float32], tolerance: float) -> None:
    """The tone of `FREQUENCY` and `LEVEL` in float64, in time; its ends, where filters ring, are not looked at."""
    truth = LEVEL * np.sin(2 * np.pi * FREQUENCY * np.arange(len(samples)) / SAMPLE_RATE)
    inside = slice(1_600, len(samples) - 1_600)
    np.testing.assert_allclose(samples[inside], truth[inside], rtol=0, atol=tolerance)


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 384_000])
def test_a_tone_keeps_its_frequency_its_level_and_its_place_at_any_rate(rate):
    samples = here(wav(tone(FREQUENCY, rate), rate), "WAV")
    assert abs(len(samples) - SAMPLE_RATE) <= SAMPLE_RATE / rate + 1
    check_tone(samples, 2e-4)


@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_what_16_khz_cannot_hold_does_not_come_back_as_another_tone(rate):
    samples = here(wav(tone(10_000, rate), rate), "WAV")
    assert np.abs(samples[1_600:-1_600]).max() < 2e-3


@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 9, 64])
def test_mono_is_the_mean_of_the_channels(channels):
    rows = np.random.default_rng(0).uniform(-0.9, 0.9, (channels, 4_000))
    samples = here(wav(rows, SAMPLE_RATE), "WAV")
    truth = np.round(32_767 * rows).mean(axis=0) / 32_768
    np.testing.assert_allclose(samples, truth, rtol=0, atol=1e-6)


def test_samples_at_16_khz_are_not_touched():
    samples = np.random.default_rng(0).standard_normal(4_000).astype(np.float32)
    np.testing.assert_array_equal(here(float_wav(samples, SAMPLE_RATE), "WAV"), samples)


# How far from the truth a codec may be: at a level of 0.5.
CODECS = {
    "FLAC": ("flac", "flac", 44_100, 2e-4),
    "MP3": ("libmp3lame", "mp3", 44_100, 0.03),
    "OGG": ("libopus", "ogg", 48_000, 0.03),
    "OGG, Vorbis": ("vorbis", "ogg", 44_100, 0.06),
    "M4A": ("aac", "ipod", 44_100, 0.03),
    "M4A, ALAC": ("alac", "ipod", 44_100, 2e-4),
    "WebM": ("libopus", "webm", 48_000, 0.03),
}


@pytest.mark.parametrize("name", CODECS)
def test_every_format_is_taken_mono_and_stereo(name):
    codec, container, rate, tolerance = CODECS[name]
    for layout in ("mono", "stereo")[codec == "vorbis" :]:
        data = encoded(tone(FREQUENCY, rate), rate, codec, container, layout)
        form = name.partition(",")[0]
        assert [kind for kind, starts in decoding._STARTS.items() if starts(data)] == [form]
        samples = here(data, form)
        assert abs(len(samples) - SAMPLE_RATE) < 0.05 * SAMPLE_RATE
        check_tone(samples, tolerance)


async def test_the_process_gives_the_same():
    data = wav(np.stack([SECOND, -SECOND / 2]), SAMPLE_RATE)
    samples = await decode_apart(data)
    assert samples.dtype == np.float32
    np.testing.assert_array_equal(samples, here(data, "WAV"))


GOOD = wav(SECOND[:1600], SAMPLE_RATE)
FLAC = encoded(tone(FREQUENCY, SAMPLE_RATE, 2), SAMPLE_RATE, "flac", "flac")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes that are no audio"),
        (b"four score and seven years ago\n" * 9, "279 bytes that are no audio"),
        (GOOD[:4], "no audio"),
        (b"\xff\xfe" + "text".encode("utf-16-le"), "no audio"),
        (FLAC[: len(FLAC) // 2], "FLAC is not decoded: its data are damaged or cut off"),
        (wav(np.zeros(0), SAMPLE_RATE), "WAV is not decoded: it holds no sound"),
        (float_wav(np.full(99, np.nan), SAMPLE_RATE), "WAV is not decoded: some of its samples are not finite"),
    ],
    ids=["empty", "text", "four bytes", "UTF-16", "cut", "no samples", "NaN"],
)
def test_what_is_no_clip_is_refused_in_one_line(data, reason):
    with pytest.raises(InvalidRequestError, match=reason) as raised:
        decode(data)
    assert len(str(raised.value).splitlines()) == 1
    assert raised.value.param == "file"


@pytest.mark.parametrize(("rate", "reason"), [(1, "1 samples a second"), (768_000, "768000 samples a second")])
def test_rates_beyond_the_limits_are_refused(rate, reason):
    with pytest.raises(RefusedError, match=f"it has {reason}; taken are 4000 to 384000"):
        here(wav(np.zeros(50), rate), "WAV")


def test_words_after_the_start_of_a_wav_are_refused():
    with pytest.raises(RefusedError, match="its data are damaged or cut off"):
        here(b"RIFF\xff\0\0\0WAVE" + b"words, words, words" * 9, "WAV")


def test_a_wav_of_no_channels_is_refused_in_words_about_the_file():
    with pytest.raises(RefusedError, match="its header or its data are damaged"):
        here(GOOD[:22] + bytes(2) + GOOD[24:], "WAV")


def test_too_many_channels_are_refused():
    with pytest.raises(RefusedError, match="it has 65 channels; the limit is 64"):
        here(wav(np.zeros((65, 50)), SAMPLE_RATE), "WAV")


@pytest.mark.parametrize("form", ["FLAC", "MP3", "M4A", "WAV"])
def test_a_clip_that_lacks_its_end_is_refused_wherever_it_is_cut(form):
    codec, container, _, _ = CODECS.get(form, ("", "", 0, 0.0))
    data = encoded(tone(FREQUENCY, SAMPLE_RATE, 2), SAMPLE_RATE, codec, container) if codec else GOOD
    assert len(here(data, form))
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        with pytest.raises(RefusedError, match="cut off"):
            here(data[: int(share * len(data))], form)


def test_a_flac_whose_header_promises_more_is_refused():
    # 36 bits of samples at the end of STREAMINFO's first 18 bytes, behind 8 bytes of heads.
    data = bytearray(FLAC)
    assert struct.unpack_from(">I", data, 22)[0] == 32_000
    struct.pack_into(">I", data, 22, 33_000)
    with pytest.raises(RefusedError, match=r"cut off: of 2\.06 s it holds 2\.00 s"):
        here(bytes(data), "FLAC")


@pytest.mark.parametrize(("rate", "samples"), [(44_100, 30_137), (44_100, 30_274), (8_000, 12_003), (48_000, 50_001)])
def test_a_whole_flac_of_any_length_is_taken(rate, samples):
    data = silent_flac(samples / rate, rate=rate)
    assert len(here(data, "FLAC")) == pytest.approx(samples * SAMPLE_RATE / rate, abs=1)


def test_a_wav_written_before_its_length_was_known_is_taken_to_its_end():
    start = GOOD.index(b"data") + 4
    told = GOOD[:start] + struct.pack("<I", 2**32 - 1) + GOOD[start + 4 :]
    np.testing.assert_array_equal(here(told, "WAV"), here(GOOD, "WAV"))


def test_ten_hours_of_silence_are_refused_by_what_the_header_says():
    data = bytearray(FLAC)
    struct.pack_into(">I", data, 22, 36_000 * SAMPLE_RATE)
    with pytest.raises(InvalidRequestError, match="FLAC is not decoded: it lasts 36000 s; the limit is 1500 s"):
        decode(bytes(data))


def test_a_longer_clip_than_its_header_says_is_not_decoded_beyond_the_limit():
    data = bytearray(FLAC)
    # Unknown.
    struct.pack_into(">I", data, 22, 0)
    assert len(here(bytes(data), "FLAC", 2.0)) == 32_000
    with pytest.raises(RefusedError, match=r"it lasts longer than 1\.9 s"):
        here(bytes(data), "FLAC", 1.9)


def test_too_many_bytes_are_refused():
    with pytest.raises(PayloadTooLargeError, match="the limit is 26214400"):
        decode(GOOD[:44] + bytes(decoding.MAX_BYTES))


def test_a_process_that_takes_too_much_memory_is_an_error_of_its_file(monkeypatch, tmp_path):
    program = f"""
import runpy, sys
decoder = runpy.run_path({str(Path(decoding.__file__).with_name("decoder.py"))!r})
decoder["main"].__globals__["decode"] = lambda *_: [bytes({MAX_MEMORY_BYTES})[:8]]
sys.exit(decoder["main"]())
"""
    (tmp_path / "decoder.py").write_text(program)
    monkeypatch.setattr(decoding, "__file__", str(tmp_path / "decoding.py"))
    with pytest.raises(InvalidRequestError, match="too much time or memory"):
        decode(GOOD)
    # Of the memory alone.
    (tmp_path / "decoder.py").write_text(program.replace(str(MAX_MEMORY_BYTES), "1024"))
    assert len(decode(GOOD)) == 2


async def test_what_is_refused_holds_up_nothing_that_comes_with_it():
    bad, good = await asyncio.gather(decode_apart(GOOD[:-1]), decode_apart(GOOD), return_exceptions=True)
    assert isinstance(bad, InvalidRequestError)
    assert isinstance(good, np.ndarray)


def test_a_process_that_takes_too_long_or_dies_is_an_error_of_its_file(monkeypatch, tmp_path):
    for program, reason in (("import time; time.sleep(60)", "longer than 0.5 s"), ("import os; os.abort()", "breaks")):
        (tmp_path / "decoder.py").write_text(program)
        with monkeypatch.context() as patch:
            patch.setattr(decoding, "__file__", str(tmp_path / "decoding.py"))
            patch.setattr(decoding, "TIMEOUT_S", 0.5 if "sleep" in program else 20.0)
            with pytest.raises(InvalidRequestError, match=reason):
                decode(GOOD)
    assert len(decode(GOOD)) == 1_600
