"""Gate, Opus, averages and costs, each against a computation of its own."""

import numpy as np
import pytest
import torch
from torch import nn

from experiments.speech.digital import uses_over
from experiments.speech.gate import gated
from experiments.speech.opus import through_opus
from experiments.speech.outcome import Outcome
from experiments.speech.plain import AROUND, decoder_gmacs
from experiments.speech.ways import Way, pool
from offline.data.digits import Utterance
from offline.data.utterances import Utterances
from policies.policy import Policy
from tests.speech import make_speech
from thinwire.audio import log_mel
from thinwire.nn.macs import count_macs
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.towers.whisper_tower import WhisperTower


def voice(seconds: float, pitch: float = 150.0) -> np.ndarray:
    """A sound with overtones, as a voice has."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    sound = sum(np.sin(2 * np.pi * pitch * number * time) / number for number in range(1, 20))
    return (0.2 * sound * (1 + 0.5 * np.sin(2 * np.pi * 4 * time))).astype(np.float32)


def test_the_gate_keeps_what_is_heard_and_a_tenth_of_a_second_around_it():
    silence = 1e-4 * np.random.default_rng(0).normal(size=16_000).astype(np.float32)
    clip = np.concatenate([silence, voice(0.5), silence, voice(0.24), silence])
    left = gated(clip)
    assert len(left) == round(16_000 * (0.5 + 0.24 + 4 * 0.1))
    np.testing.assert_array_equal(left[1_600 : 1_600 + 8_000], voice(0.5))
    np.testing.assert_array_equal(gated(voice(0.3)), voice(0.3))
    assert len(gated(np.zeros(500, np.float32))) == 500


def test_opus_gives_the_clip_back_for_about_the_bits_that_are_asked_for():
    clip = voice(2.0)
    found, bits = through_opus(clip, 12_000)
    assert found.shape == clip.shape
    assert found.dtype == np.float32
    assert 0.5 < bits / (2 * 12_000) < 1.2
    assert bits % 8 == 0
    # At its place, and as loud.
    likeness = [np.dot(np.roll(found, shift), clip) for shift in range(-40, 41)]
    assert abs(int(np.argmax(likeness)) - 40) <= 2
    assert found.std() == pytest.approx(clip.std(), rel=0.2)
    assert through_opus(clip, 6_000)[1] < bits


def test_averages_in_time():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, 11, 5, generator=generator)
    pooled = pool(Tokens.from_embedding(x, 0), 4)
    assert pooled.sizes.tolist() == [[4, 4, 3]]
    assert pooled.counts.tolist() == [3]
    assert pooled.origin.tolist() == [[0] * 4 + [1] * 4 + [2] * 3]
    for row, part in enumerate((x[0, :4], x[0, 4:8], x[0, 8:])):
        torch.testing.assert_close(pooled.x[0, row], part.mean(0))
    assert pool(pooled, 1) is pooled


def test_what_a_way_hears():
    tower = WhisperTower.around(make_speech(max_source_positions=100)[0])
    clip, policy = voice(0.51), Policy.unmerged(2, 1)
    assert Way(policy).features(clip, tower).shape == (8, 200)
    np.testing.assert_array_equal(Way(policy).features(clip, tower), log_mel(clip, 8, 100))
    # 26 positions hold it.
    np.testing.assert_array_equal(Way(policy, 0.5).features(clip, tower), log_mel(clip, 8, 26 + 25))
    assert Way(policy, 9.0).features(clip, tower).shape == (8, 200)
    quiet = np.concatenate([clip, np.zeros(8_000, np.float32)])
    assert Way(policy, 0.0, is_gated=True).features(quiet, tower).shape == (8, 2 * (26 + 5))


class Reading(nn.Module):
    """The decoder reads all tokens at once, which is one product less for nothing that a cache keeps."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, heard):
        return self.model.proj_out(self.model.model.decoder(input_ids=ids, encoder_hidden_states=heard)[0])


def test_the_decoder_costs_what_its_layers_count():
    model, _ = make_speech()
    written, positions = 6, 20
    steps = written + AROUND
    layers = count_macs(Reading(model), torch.zeros(1, steps, dtype=torch.long), torch.zeros(1, positions, 32))
    # Queries and keys, attention and values: each step sees all so far and all that was heard, in two layers.
    products = sum(2 * 2 * 32 * (step + 1 + positions) for step in range(steps))
    assert decoder_gmacs(model, positions, written) == pytest.approx((layers + products) / 1e9)


def test_uses_of_bits_at_capacity():
    bits = np.array([100.0, 300.0])
    np.testing.assert_allclose(uses_over(bits, "awgn", 10.0), bits / np.log2(11))
    gains = np.random.default_rng(0).exponential(size=400_000)
    np.testing.assert_allclose(uses_over(bits, "rayleigh", 10.0), bits / np.log2(1 + 10 * gains).mean(), rtol=5e-3)


def test_an_outcome_by_utterance_and_by_speaker():
    audio = np.zeros(16_000, np.float32)
    said = Utterances(tuple(Utterance(f"{who}/{k}", who, (1,) * 6, audio) for k, who in enumerate("abab")))
    wild = Outcome.of(said, {"errors": [0, 200, 0, 6], "tokens": [1] * 4, "uses": [0] * 4, "gmacs": [1.0] * 4})
    assert (wild.bounded.errors.tolist(), wild.repeats) == ([0, 6, 0, 6], 25)
    one = Outcome.of(said, {"errors": [0, 3, 0, 6], "tokens": [1] * 4, "uses": [10, 20, 30, 40], "gmacs": [1.0] * 4})
    other = Outcome.of(said, {"errors": [0, 3, 6, 6], "tokens": [1] * 4, "uses": [0] * 4, "gmacs": [1.0] * 4})
    assert (one.rate.value, one.rate.se) == (37.5, pytest.approx(100 * np.std([0, 3, 0, 6], ddof=1) / 6 / 2))
    assert (one.speakers.low, one.speakers.high) == (0, 75)
    assert one.change_from(other).value == -25
    assert one.change_from(other).se == pytest.approx(100 * np.std([0, 0, -6, 0], ddof=1) / 6 / 2)
    assert one.uses_per_second == 25
