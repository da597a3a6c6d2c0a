"""The cost of a clip against a run whose products are counted as they are made."""

import numpy as np
import pytest
import torch
from torch import nn

from edge.torch_engine import count_edge
from tests.speech_engine import MEL_BINS, POSITIONS, WIDTH, make_speech_engine, random_features
from thinwire.bundle import Merging
from thinwire.nn.macs import count_macs
from thinwire.nn.merging import neighbours
from thinwire.nn.merging.transformer import rules_for
from thinwire.nn.towers.whisper_tower import WhisperTower


class Run(nn.Module):
    """The device's side as a module, so that hooks see the layers of its tower."""

    def __init__(self, engine, thresholds):
        super().__init__()
        self.held = engine.tower.module
        self.run = lambda features: engine.transform(features.numpy(), rules_for(thresholds))

    def forward(self, features):
        self.transformed = self.run(features)


def counted(monkeypatch, merging, thresholds, frames):
    """MACs of a run: hooks for convolutions and projections, products of attention and matching from what they met."""
    engine, met = make_speech_engine(merging), []
    match = neighbours.match_neighbours

    def watched(metric, valid):
        met.append(metric.shape[1:])
        return match(metric, valid)

    monkeypatch.setattr(neighbours, "match_neighbours", watched)
    run = Run(engine, thresholds)
    macs = count_macs(run, torch.from_numpy(random_features(frames))[None])
    (counts,) = run.transformed.counts.tolist()
    for tokens in counts[merging.front : -1]:
        macs += 2 * tokens * tokens * WIDTH
    matching = 0
    for tokens, width in met:
        # A product for each two neighbours; norms; averages of the hidden states and of the metric.
        matching += (tokens - 1) * width + tokens * (width + 2 * WIDTH + width)
    cost = count_edge(engine.tower, 3, merging, None)
    return macs + matching, cost.macs(counts, run.transformed.merged, counts[-1]), matching, counts


@pytest.mark.parametrize("frames", [2 * POSITIONS, 22])
@pytest.mark.parametrize("front", [False, True])
def test_a_round_a_layer_costs_what_a_run_does(monkeypatch, frames, front):
    merging = Merging(weight="size", proportional_attention=True, neighbours=1, front=front)
    thresholds = [0.6] * front + [0.9, 1.0, 0.8]
    run, stated, matching, counts = counted(monkeypatch, merging, thresholds, frames)
    assert counts[0] == frames // 2 > counts[-1]
    assert not front or counts[1] < counts[0]
    assert matching > 0
    assert stated == run


def test_more_rounds_cost_at_most_what_is_stated(monkeypatch):
    merging = Merging(weight="size", neighbours=3, front=True, front_rounds=4)
    run, stated, matching, _ = counted(monkeypatch, merging, [0.6, 0.9, 1.0, 0.8], 2 * POSITIONS)
    assert run < stated < run + 4 * matching


def test_convolutions_are_counted_by_the_length_of_the_clip(monkeypatch):
    thresholds = [1.0] * 3
    run, stated, matching, counts = counted(monkeypatch, Merging(neighbours=3), thresholds, 20)
    assert (counts, matching) == ([10] * 4, 0)
    convolutions = 20 * WIDTH * MEL_BINS * 3 + 10 * WIDTH * WIDTH * 3
    layer = 10 * (4 * WIDTH * WIDTH + 2 * WIDTH * 40) + 2 * 10 * 10 * WIDTH
    assert run == stated == convolutions + 3 * layer


def test_the_cap_costs_a_look_at_the_neighbours_a_round():
    tower = make_speech_engine(Merging()).tower
    in_time, in_pairs = (count_edge(tower, 3, Merging(neighbours=rounds), None) for rounds in (3, 0))
    counts = [30] * 4

    def capping(cost):
        return cost.macs(counts, [False] * 3, 5) - cost.macs(counts, [False] * 3, 30)

    # 30 -> 15 -> 8 -> 5
    assert capping(in_time) == sum((n - 1) * WIDTH + n * 3 * WIDTH for n in (30, 15, 8))
    assert capping(in_pairs) == sum((n // 2) * ((n + 1) // 2) * WIDTH + n * 3 * WIDTH for n in (30, 15, 8))


def test_tiny_costs_what_counting_by_hand_gives():
    # tiny.en: 80 bands, 384 channels, four layers; nothing is computed on the meta device.
    config = {"num_mel_bins": 80, "d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6}
    with torch.device("meta"):
        tower = WhisperTower.from_spec(
            {"tower": "whisper", "config": config | {"encoder_ffn_dim": 1536, "max_source_positions": 1500}}
        )
        cost = count_edge(tower, 4, Merging(neighbours=3), None)
    counts = np.full((1, 5), 1500)
    stem = 3000 * 384 * 80 * 3 + 1500 * 384 * 384 * 3
    layers = 4 * (1500 * 12 * 384 * 384 + 2 * 1500 * 1500 * 384)
    macs = cost.gmacs(counts, [False] * 4, counts[:, -1])[0] * 1e9
    assert macs == pytest.approx(stem + layers, abs=1)
    assert macs == pytest.approx(18.47e9, rel=1e-3)
