"""Clips in ONNX Runtime and in torch: the same tokens, the same spans of time, the same refusals."""

from dataclasses import replace

import numpy as np
import pytest

from policies.policy import Policy
from tests.edge.test_onnx_engine import assert_same, decided
from tests.onnx import SPEECH_KINDS, engines
from tests.parts import random_pixels
from tests.speech_engine import MEL_BINS, POSITIONS, random_features
from thinwire.audio import SAMPLES_PER_POSITION, log_mel
from thinwire.errors import InvalidRequestError
from thinwire.nn.merging.neighbours import spans
from thinwire.nn.merging.transformer import rules_for

LEVELS = ((0.95, 0.9, 0.9), (1.0, 0.8, 0.7), (0.97, 1.0, 0.6), (1.0, 1.0, 1.0), (-1.0, -1.0, -1.0))


def inputs_of(kind):
    """Clips of several lengths, a single position among them; pictures for the tower that sees."""
    if kind == "raster":
        return random_pixels(3)
    return [random_features(frames, seed) for seed, frames in enumerate((2 * POSITIONS, 34, 6, 2))]


@pytest.mark.parametrize("kind", SPEECH_KINDS)
def test_it_does_what_torch_does(kind):
    in_torch, in_onnx = engines(kind)
    compared, merged = 0, set()
    for x in inputs_of(kind):
        for thresholds in LEVELS:
            policy = Policy.create(thresholds[-in_torch.bundle.steps :], 2)
            if not decided(in_torch, x, policy):
                continue
            for limit, cap in ((None, None), (7, None), (None, 10), (None, 10**30)):
                asked = replace(policy, max_tokens=limit)
                found = in_onnx.encode(x, asked, 10.0, cap)
                assert_same(found, in_torch.encode(x, asked, 10.0, cap))
                assert len(found.tokens_per_layer) == len(thresholds[-in_torch.bundle.steps :])
                compared += 1
                merged.add(found.tokens_per_layer)
    assert compared > 40
    assert len(merged) > 6


@pytest.mark.parametrize("cap", [None, 4])
def test_each_token_says_which_positions_it_covers(cap):
    in_torch, in_onnx = engines("in time")
    policy = Policy.create((0.95, 0.9, 0.9), 2)
    for x in inputs_of("in time")[:2]:
        assert decided(in_torch, x, policy)
        found, own = (engine.encode(x, policy, 10.0, cap) for engine in (in_onnx, in_torch))
        assert found.spans.tolist() == own.spans.tolist()
        assert found.spans.dtype == np.int64
        assert (found.spans[0, 0], found.spans[-1, 1]) == (0, x.shape[1] // 2)
        assert found.spans[1:, 0].tolist() == found.spans[:-1, 1].tolist()
        assert (found.spans[:, 1] - found.spans[:, 0]).tolist() == found.sizes.tolist()
        assert found.capped == (cap is not None)
        assert len(found.sizes) == 2 if cap else 2 < len(found.sizes) < x.shape[1] // 2
        held = [[place for place, row in enumerate(own.merge_map) if row == token] for token in range(len(own.sizes))]
        assert own.spans.tolist() == [[places[0], places[-1] + 1] for places in held]
        if cap is None:
            transformed = in_torch.transform(x[None], rules_for(policy.thresholds))
            assert spans(transformed.tokens)[0].tolist() == own.spans.tolist()


def test_features_of_numpy_go_in_as_they_are():
    in_torch, in_onnx = engines("in time")
    audio = np.random.default_rng(0).normal(0, 0.1, 12 * SAMPLES_PER_POSITION - 100)
    features = log_mel(audio, MEL_BINS, positions=None)
    policy = Policy.create((1.0, 1.0, 1.0), 4)
    found = in_onnx.encode(features, policy, 10.0)
    assert_same(found, in_torch.encode(features, policy, 10.0))
    assert found.spans.tolist() == [[place, place + 1] for place in range(12)]


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((MEL_BINS, 59), np.float32),
        np.zeros((MEL_BINS, 62), np.float32),
        np.zeros((MEL_BINS, 0), np.float32),
        np.zeros((MEL_BINS + 1, 60), np.float32),
        np.zeros((1, MEL_BINS, 60), np.float32),
        np.zeros((MEL_BINS, 60)),
        np.zeros(60, np.float32),
        np.zeros((), np.float32),
    ],
    ids=lambda features: f"{features.dtype} {features.shape}",
)
def test_other_features_are_refused(features):
    for engine in engines("in time"):
        with pytest.raises(InvalidRequestError, match="float32 features of 8 x an even number of frames up to 60, got"):
            engine.encode(features, Policy.create([1.0] * 3, 4), 10.0)


def test_a_merge_in_front_has_a_threshold_of_its_own():
    for engine in engines("in time"):
        with pytest.raises(InvalidRequestError, match=r"expected 3 thresholds, one per layer .* and one in front"):
            engine.encode(random_features(), Policy.create([1.0] * 2, 4), 10.0)
    with pytest.raises(ValueError, match="expected 3 rules, got 2"):
        engines("in time")[0].transform(random_features()[None], [None] * 2)


def test_what_merges_in_front_costs_the_first_layer_nothing():
    in_torch, _ = engines("in time")
    x = random_features()
    whole, less = (in_torch.encode(x, Policy.create((front, 1.0, 1.0), 2), 10.0) for front in (1.0, 0.6))
    assert less.tokens_per_layer[0] < whole.tokens_per_layer[0] == POSITIONS
    assert less.edge_gmacs < whole.edge_gmacs
