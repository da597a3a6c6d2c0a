"""Merging of neighbours in time against a slow loop, and what holds of it for any tokens."""

from dataclasses import astuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ctranslate2 import make_whisper
from tests.thinwire.nn.merging.slow_merging import Token, attention, cosine, merge_groups, mlp, start, whisper_parts
from thinwire.bundle import Merging
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.merging.matching import above
from thinwire.nn.merging.merge import merge
from thinwire.nn.merging.neighbours import match_neighbours, merge_neighbours, merge_neighbours_down_to, spans
from thinwire.nn.merging.tokens import Tokens
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.whisper_tower import WhisperTower


def best_sides(metrics):
    """For every odd rank the neighbour most like it, the earlier of near equals, and how alike they are."""
    found = {}
    for source in range(1, len(metrics), 2):
        sides = [source - 1, source + 1] if source + 1 < len(metrics) else [source - 1]
        alike = [cosine(metrics[source], metrics[side]) for side in sides]
        target = sides[len(sides) > 1 and alike[1] - alike[0] > 1e-3]
        found[source] = target, cosine(metrics[source], metrics[target])
    return found


def merge_in_time(tokens, metrics, threshold, rounds, weight):
    """One layer's merging, round by round and token by token."""
    for _ in range(rounds):
        into = {source: target for source, (target, alike) in best_sides(metrics).items() if alike > threshold}
        if not into:
            return tokens
        weights = [token.size if weight == "size" else np.linalg.norm(token.x) for token in tokens]
        groups = [[rank, *(s for s, t in into.items() if t == rank)] for rank in range(len(tokens)) if rank not in into]
        metrics = [
            sum(weights[rank] * metrics[rank] for rank in group) / sum(weights[rank] for rank in group)
            for group in groups
        ]
        tokens = merge_groups(tokens, into, weight)
    return tokens


def run_one(parts, clip, thresholds, merging, positions):
    """One clip through all layers."""
    _, tokens = start(parts, clip)
    if merging.front:
        in_front, *thresholds = thresholds
        if in_front < 1:
            # Before anything is added that says where a token stands.
            metrics = [token.x - place for token, place in zip(tokens, positions, strict=True)]
            rounds = merging.front_rounds or merging.neighbours
            tokens = merge_in_time(tokens, metrics, in_front, rounds, merging.weight)
    for layer, threshold in zip(parts.layers, thresholds, strict=True):
        rows, metrics = attention(layer, np.stack([t.x for t in tokens]), [t.size for t in tokens], merging)
        if merging.metric == "key":
            mean = np.mean(metrics, axis=0)
            metrics = [metric - mean for metric in metrics]
        if merging.place == "layer":
            rows = mlp(layer, rows)
        tokens = [type(token)(row, token.patches) for row, token in zip(rows, tokens, strict=True)]
        if threshold < 1:
            tokens = merge_in_time(tokens, metrics, threshold, merging.neighbours, merging.weight)
        if merging.place == "attention":
            rows = mlp(layer, np.stack([t.x for t in tokens]))
            tokens = [type(token)(row, token.patches) for row, token in zip(rows, tokens, strict=True)]
    return tokens


# Leaves half of the silent clip and most of the others to the layers.
IN_FRONT = 0.7


def clips(batch=3, frames=60):
    """Noise, the end of which is silent in the first."""
    x = torch.randn(batch, 8, frames, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x[0, :, 24:] = -1.5
    return x


@pytest.mark.parametrize("thresholds", [(0.6, 1.0, 0.8), (0.9, 0.9, 0.9)], ids=str)
@pytest.mark.parametrize(
    "merging",
    [
        Merging(weight="size", proportional_attention=True, neighbours=3),
        Merging(weight="size", proportional_attention=True, neighbours=1),
        Merging(neighbours=2),
        Merging(metric="key", place="layer", neighbours=2),
        Merging(metric="key_mean", weight="size", neighbours=9),
        Merging(weight="size", proportional_attention=True, neighbours=3, front=True),
        Merging(metric="key", neighbours=2, front=True),
        Merging(weight="size", proportional_attention=True, neighbours=1, front=True, front_rounds=5),
    ],
    ids=lambda merging: " ".join(str(value) for value in astuple(merging)),
)
def test_merging_in_time_is_the_slow_loop(merging, thresholds):
    model, x = make_whisper().double(), clips()
    tower, parts = WhisperTower.around(model), whisper_parts(model.model.encoder)
    positions = model.model.encoder.embed_positions.weight.detach().numpy()
    thresholds = (IN_FRONT, *thresholds) if merging.front else thresholds
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), rules_for(thresholds), merging)
    for index in range(len(x)):
        expected = run_one(parts, x[index], thresholds, merging, positions)
        count = len(expected)
        assert int(tokens.counts[index]) == count == int(counts[index, -1])
        # Some, and not all, merge in front.
        assert not merging.front or 10 < int(counts[index, 1]) < 30 == int(counts[index, 0])
        np.testing.assert_allclose(tokens.x[index, :count].numpy(), np.stack([t.x for t in expected]), atol=1e-9)
        assert tokens.sizes[index, :count].tolist() == [token.size for token in expected]
        held = [list(range(first, end)) for first, end in spans(tokens)[index, :count].tolist()]
        assert held == [sorted(token.patches) for token in expected]
    assert int(tokens.counts.min()) < 30
    # The lower ones may leave one token of every clip; these must leave different numbers, or no padding was tried.
    assert len(set(tokens.counts.tolist())) > 1 or thresholds[-2:] != (0.9, 0.9)


def test_silence_merges_in_front_wherever_it_stands_and_nothing_else():
    tower, x = WhisperTower.around(make_whisper().double()), clips()
    merging = Merging(neighbours=1, front=True, front_rounds=4)
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), rules_for([0.9999]), merging)
    assert counts.tolist() == [[30, int(tokens.counts[0])], [30, 30], [30, 30]]
    # The convolutions see two positions around, and the last one the edge.
    silent = range(14, 29)
    for first, end in spans(tokens)[0, : int(tokens.counts[0])].tolist():
        assert end - first == 1 or {first, end - 1} <= {*silent, 13, 29}
    assert int(tokens.counts[0]) <= 30 - len(silent) + 3


def test_ones_in_front_are_as_without_it():
    model, x = make_whisper().double(), clips()
    plain = Merging(weight="size", proportional_attention=True, neighbours=3)
    with_front = Merging(weight="size", proportional_attention=True, neighbours=3, front=True)
    expected, found = merge(model, x, 0.7, plain), merge(model, x, [1.0, 0.7, 0.7, 0.7], with_front)
    assert torch.equal(found.tokens.x, expected.tokens.x)
    assert found.counts[:, 1:].tolist() == expected.counts.tolist()
    assert found.counts[:, 0].tolist() == [30] * 3
    with pytest.raises(InvalidRequestError, match="expected 4 thresholds"):
        merge(model, x, [0.7] * 3, with_front)


@pytest.mark.parametrize("weight", ["size", "norm"])
@pytest.mark.parametrize("limit", [1, 2, 7, 19, 30])
def test_down_to_a_limit_is_the_slow_loop(limit, weight):
    x = torch.randn(3, 30, 5, generator=torch.Generator().manual_seed(limit), dtype=torch.float64) + 0.5
    tokens = Tokens.from_embedding(x, 0)
    capped = merge_neighbours_down_to(tokens, torch.tensor([limit, 30, 30]), weight)
    # One clip's limit is no other's.
    assert torch.equal(capped.x[1:], x[1:])
    expected = [Token(row, [place]) for place, row in enumerate(x[0].numpy())]
    while len(expected) > limit:
        found = best_sides([token.x for token in expected])
        ranked = sorted(found, key=lambda source: -found[source][1])[: len(expected) - limit]
        expected = merge_groups(expected, {source: found[source][0] for source in ranked}, weight)
    assert int(capped.counts[0]) == len(expected) == limit
    np.testing.assert_allclose(capped.x[0, :limit].numpy(), np.stack([t.x for t in expected]), atol=1e-12)
    held = [list(range(first, end)) for first, end in spans(capped)[0, :limit].tolist()]
    assert held == [sorted(token.patches) for token in expected]


def test_a_run_of_silence_collapses_within_a_layer():
    x = torch.ones(1, 32, 4, dtype=torch.float64)
    x[0, :8] = torch.eye(4).double().repeat(2, 1)
    tokens = merge_neighbours(Tokens.from_embedding(x, 0), x, above(0.9), "size", rounds=5)
    assert spans(tokens)[0].tolist() == [[place, place + 1] for place in range(8)] + [[8, 32]]
    assert merge_neighbours(Tokens.from_embedding(x, 0), x, above(0.9), "size", rounds=1).counts.tolist() == [20]


def test_the_earlier_of_equals_is_taken():
    metric = torch.tensor([[[1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 1.0]]])
    best, target, second = match_neighbours(metric, torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(best, torch.tensor([[0.5**0.5, 1.0]]))
    assert target.tolist() == [[0, 1]]
    # The other would be taken if it were more like by a thousandth.
    torch.testing.assert_close(second, torch.tensor([[0.5**0.5 - 1e-3, -torch.inf]]))


def test_a_batch_gives_each_clip_what_it_gets_alone():
    tower, x = WhisperTower.around(make_whisper().double()), clips(4)
    merging = Merging(weight="size", proportional_attention=True, neighbours=3)
    with torch.inference_mode():
        together, counts = run_layers(tower, embed(tower, x), rules_for([0.7] * 3), merging)
        for index in range(4):
            alone, own = run_layers(tower, embed(tower, x[index : index + 1]), rules_for([0.7] * 3), merging)
            count = int(own[0, -1])
            assert counts[index].tolist() == own[0].tolist()
            torch.testing.assert_close(together.x[index, :count], alone.x[0], rtol=0, atol=1e-10)
            assert together.origin[index].tolist() == alone.origin[0].tolist()


def test_the_margin_is_the_distance_to_the_nearest_tie():
    tower, x = WhisperTower.around(make_whisper().double()), clips(1)
    merging = Merging(weight="size", neighbours=2)

    def at(threshold):
        with torch.inference_mode():
            thresholds = [threshold, 1.0, 1.0]
            tokens, _ = run_layers(tower, embed(tower, x), rules_for(thresholds), merging, thresholds)
        return tokens.origin[0].tolist(), float(tokens.margin[0])

    origin, margin = at(0.7)
    assert 0 < margin < 0.1
    assert at(0.7 + 0.99 * margin)[0] == at(0.7 - 0.99 * margin)[0] == origin


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 21), st.floats(-1.1, 1), st.integers(1, 6))
def test_tokens_cover_the_clip_without_gaps(seed, batch, positions, threshold, rounds):
    generator = np.random.default_rng(seed)
    x = torch.from_numpy(generator.normal(size=(batch, positions, 5)) + generator.normal(size=(batch, 1, 5)))
    tokens = merge_neighbours(Tokens.from_embedding(x, 0), x, above(threshold), "size", rounds)
    for index in range(batch):
        count = int(tokens.counts[index])
        held = spans(tokens)[index, :count]
        assert held[0, 0] == 0
        assert held[-1, 1] == positions
        assert (held[:, 1] > held[:, 0]).all()
        assert torch.equal(held[1:, 0], held[:-1, 1])
        assert tokens.origin[index].tolist() == [rank for rank, (a, b) in enumerate(held.tolist()) for _ in range(a, b)]
        # Of averages by size, the whole keeps its mean.
        mean = (tokens.x[index, :count] * tokens.sizes[index, :count, None]).sum(0) / positions
        torch.testing.assert_close(mean, x[index].mean(0))


@pytest.mark.parametrize("value", [-1, 1.5, True])
def test_rounds_are_a_whole_number(value):
    with pytest.raises(BundleError, match="neighbours must be"):
        Merging(neighbours=value)
