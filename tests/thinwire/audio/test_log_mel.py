"""Log-mel features against transformers' extractor, in torch and in NumPy."""

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from thinwire.audio import SAMPLES_PER_POSITION, log_mel
from thinwire.errors import InvalidRequestError


def noise(samples: int, loudness: float = 0.1) -> np.ndarray:
    return (loudness * np.random.default_rng(samples).standard_normal(samples)).astype(np.float32)


CLIPS = {
    "30 s": noise(480_000),
    "5 s": noise(80_000, 0.5),
    "faint": noise(24_321, 1e-5),
    "silent": np.zeros(32_000, np.float32),
    "one sample": noise(1),
}


@pytest.mark.parametrize("clip", CLIPS.values(), ids=CLIPS)
def test_padded_features_are_transformers(clip):
    theirs = WhisperFeatureExtractor()(clip, sampling_rate=16_000)["input_features"][0]
    ours = log_mel(clip)
    assert ours.dtype == np.float32
    assert ours.shape == theirs.shape == (80, 3000)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("samples", [320, 640, 16_000, 16_001, 79_999, 80_000])
def test_features_of_the_own_length_are_transformers(samples):
    clip = noise(samples)
    theirs = WhisperFeatureExtractor()(
        clip, sampling_rate=16_000, padding="longest", pad_to_multiple_of=SAMPLES_PER_POSITION
    )["input_features"][0]
    ours = log_mel(clip, positions=None)
    assert ours.shape == theirs.shape == (80, 2 * -(-samples // 320))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_a_margin_behind_the_own_length():
    clip = noise(16_000)
    theirs = WhisperFeatureExtractor(chunk_length=2)(clip, sampling_rate=16_000)["input_features"][0]
    np.testing.assert_allclose(log_mel(clip, positions=100), theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mel_bins", [80, 128])
def test_features_are_the_librarys_without_torch_too(mel_bins):
    # Torch's transform in 32 bits leaves noise between the harmonics, so that only this way is equal for a tone.
    clip = np.sin(np.arange(16_000) / 7).astype(np.float32) * (np.arange(16_000) > 8_000)
    theirs = WhisperFeatureExtractor(feature_size=mel_bins)
    expected = theirs._np_extract_fbank_features([np.pad(clip, (0, 464_000))], "cpu")[0]
    ours = log_mel(clip, mel_bins)
    assert ours.shape == (mel_bins, 3000)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros(0, np.float32),
        np.zeros((2, 400), np.float32),
        np.zeros(400, np.int16),
        np.array([0, np.nan], np.float32),
        np.array([np.inf], np.float32),
    ],
    ids=["empty", "stereo", "integers", "not a number", "infinite"],
)
def test_what_is_no_audio(clip):
    with pytest.raises(InvalidRequestError, match="audio: expected a row of finite numbers, got "):
        log_mel(clip)


def test_audio_longer_than_its_positions():
    with pytest.raises(InvalidRequestError, match="expected up to 480000 samples, got 480001"):
        log_mel(noise(480_001))
