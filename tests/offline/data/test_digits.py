"""Utterances of spoken digits, from recordings that are made here."""

import io
import os
import tarfile
import wave
from pathlib import Path

import numpy as np
import pytest

from offline.data.digits import load_recordings, make_utterance, split_select
from thinwire.errors import InvalidRequestError

RATE = 8_000


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, width: int = 2) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setparams((channels, width, rate, 0, "NONE", ""))
        file.writeframes(samples.astype({1: np.uint8, 2: "<i2"}[width]).tobytes())
    return stream.getvalue()


def tone(digit: int, speaker: int, number: int) -> np.ndarray:
    """Of a length and pitch of its own."""
    time = np.arange(800 + 80 * digit + 7 * number) / RATE
    return 8_000 * np.sin(2 * np.pi * (200 + 100 * digit + 10 * speaker) * time)


def write_tar(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def made(speakers=("ann", "bob"), numbers=3):
    return {
        f"{digit}_{speaker}_{number}.wav": wav(tone(digit, index, number))
        for index, speaker in enumerate(speakers)
        for digit in range(10)
        for number in range(numbers)
    }


@pytest.fixture(name="recordings", scope="module")
def recordings_fixture(tmp_path_factory):
    return load_recordings(write_tar(tmp_path_factory.mktemp("digits") / "digits.tar", made()))


def test_a_recording_is_itself_at_twice_the_rate(recordings):
    audio, samples = recordings["3_bob_1.wav"], tone(3, 1, 1)
    assert audio.dtype == np.float32
    assert len(audio) == 2 * len(samples)
    # A tone far below the half of the rate is itself between its samples too.
    time = np.arange(len(audio)) / 16_000
    expected = 8_000 / 2**15 * np.sin(2 * np.pi * 510 * time)
    np.testing.assert_allclose(audio[100:-100], expected[100:-100], atol=2e-3)


def test_an_utterance_is_six_recordings_of_one_speaker(recordings):
    for number in range(8):
        utterance = make_utterance(recordings, number)
        assert utterance.speaker == ("ann", "bob")[number % 2]
        assert utterance.name == f"{utterance.speaker}/{number:04d}"
        assert len(utterance.digits) == 6
        # Taken apart at the pauses, each part is a recording of that digit, none of them twice.
        rest, found = utterance.audio, set()
        for place, digit in enumerate(utterance.digits):
            name = next(
                name
                for name, audio in recordings.items()
                if name.startswith(f"{digit}_{utterance.speaker}_")
                and np.array_equal(rest[: len(audio)], audio)
                and not rest[len(audio) : len(audio) + 3_200].any()
            )
            found.add(name)
            rest = rest[len(recordings[name]) :]
            if place < 5:
                assert len(rest) > 3_200
                rest = rest[3_200:]
        assert not len(rest)
        assert len(found) == 6


def test_an_utterance_goes_by_its_number_and_the_names_alone(recordings):
    others = {name: audio[:50] for name, audio in reversed(recordings.items())}
    utterances = [make_utterance(recordings, number) for number in range(20)]
    assert [make_utterance(others, number).digits for number in range(20)] == [one.digits for one in utterances]
    # Written out, since a figure of an evaluation is one of these very utterances.
    assert [utterances[0].digits, utterances[1].digits] == [(0, 3, 9, 7, 4, 6), (4, 5, 7, 7, 6, 7)]
    assert len({one.digits for one in utterances}) == 20


def test_the_select_split_goes_by_name(recordings):
    train, select = split_select(recordings)
    assert train.keys() | select.keys() == recordings.keys()
    assert not train.keys() & select.keys()
    assert 0 < len(select) < 20


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected recordings digit_speaker_number.wav, got none"),
        ({"readme.txt": b""}, "got 'readme.txt' of 0"),
        ({"12_ann_0.wav": b""}, "got '12_ann_0.wav'"),
        ({"a/1_ann_0.wav": wav(np.zeros(9)), "b/1_ann_0.wav": wav(np.zeros(9))}, "each once, got 'b/1_ann_0.wav'"),
        ({"1_ann_0.wav": b"hello"}, "1_ann_0.wav: expected a WAV file"),
        ({"1_ann_0.wav": b""}, "1_ann_0.wav: expected a WAV file: it ends early"),
        ({"1_ann_0.wav": wav(np.zeros(90))[:-50]}, "1_ann_0.wav: cut short: expected 90 samples, got 65"),
        ({"1_ann_0.wav": wav(np.zeros(0))}, "cut short: expected 0 samples"),
        ({"1_ann_0.wav": wav(np.zeros(90), channels=2)}, "expected 1 channel of 2 bytes, got 2 of 2 at 8000 Hz"),
        ({"1_ann_0.wav": wav(np.zeros(90), width=1)}, "expected 1 channel of 2 bytes, got 1 of 1 at 8000 Hz"),
        ({"1_ann_0.wav": wav(np.zeros(90), rate=1)}, "got 1 of 2 at 1 Hz"),
    ],
)
def test_what_are_no_recordings(tmp_path, files, message):
    with pytest.raises(InvalidRequestError, match=message):
        load_recordings(write_tar(tmp_path / "digits.tar", files))


@pytest.mark.parametrize("content", [None, b"no tar"])
def test_what_is_no_tar(tmp_path, content):
    path = tmp_path / "digits.tar"
    if content:
        path.write_bytes(content)
    with pytest.raises(InvalidRequestError, match="expected an uncompressed tar of recordings"):
        load_recordings(str(path))


def test_too_few_recordings(recordings):
    few = {name: recordings[name] for name in list(recordings)[:5]}
    with pytest.raises(InvalidRequestError, match="expected 6 recordings of ann or more, got 5"):
        make_utterance(few, 0)


@pytest.mark.data
def test_the_test_recordings():
    path = Path(os.environ.get("THINWIRE_DATA", "")) / "digits-test.tar"
    if not path.is_file():
        pytest.skip("THINWIRE_DATA names no folder with digits-test.tar")
    recordings = load_recordings(str(path))
    assert len(recordings) == 750
    seconds = [len(make_utterance(recordings, number).audio) / 16_000 for number in range(24)]
    assert 2.5 < min(seconds) < max(seconds) < 6.5
