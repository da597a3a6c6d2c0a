"""Utterances as an evaluation takes them."""

import numpy as np
import pytest

from offline.data.digits import load_recordings, make_utterance, split_select
from offline.data.sources import load_samples
from offline.data.utterances import load_utterances
from tests.parts import make_bundle
from tests.speech_bundle import make_speech_bundle
from tests.speech_evaluation import write_recordings
from thinwire.errors import InvalidRequestError


@pytest.fixture(name="source", scope="module")
def source_fixture(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("spoken") / "digits.tar", numbers=16)


def test_each_is_its_number_s(source):
    recordings = load_recordings(source)
    utterances = load_utterances(source, limit=5)
    assert utterances.names == ("ann/0000", "bob/0001", "ann/0002", "bob/0003", "ann/0004")
    for number, one in enumerate(utterances.utterances):
        expected = make_utterance(recordings, number)
        assert one.digits == expected.digits
        np.testing.assert_array_equal(one.audio, expected.audio)
    np.testing.assert_allclose(utterances.seconds, [len(one.audio) / 16_000 for one in utterances.utterances])


def test_without_a_limit_every_recording_is_heard_twice_on_average(source):
    assert len(load_utterances(source)) == 2 * 320 // 6


def test_those_of_select_are_made_of_its_recordings_alone(source):
    kept = split_select(load_recordings(source))[1]
    for number, one in enumerate(load_samples(make_speech_bundle(), source, "select", 4).utterances):
        np.testing.assert_array_equal(one.audio, make_utterance(kept, number).audio)


def test_a_sample_is_the_first_and_the_digest_is_of_all(source):
    utterances = load_utterances(source, limit=6)
    assert utterances.even_sample(4).names == utterances.names[:4] == load_utterances(source, limit=4).names
    assert utterances.even_sample(4).digest() == load_utterances(source, limit=4).digest() != utterances.digest()
    assert utterances.take(np.array([2, 0])).names == (utterances.names[2], utterances.names[0])


def test_data_of_another_kind_are_refused_in_one_line(source, tmp_path):
    with pytest.raises(InvalidRequestError, match="expected files ending in") as raised:
        load_samples(make_bundle(), source, "test")
    assert "\n" not in str(raised.value)
    (tmp_path / "class").mkdir()
    with pytest.raises(InvalidRequestError, match="expected an uncompressed tar of recordings") as raised:
        load_samples(make_speech_bundle(), str(tmp_path), "test")
    assert "\n" not in str(raised.value)


def test_a_select_split_may_be_empty(tmp_path):
    source = write_recordings(tmp_path / "few.tar", ("cy",), numbers=1)
    with pytest.raises(InvalidRequestError, match="none is of the select split"):
        load_utterances(source, select=True)
