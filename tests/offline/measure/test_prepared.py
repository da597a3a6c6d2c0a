"""What is computed once, and in groups of like length, is what each image gives alone."""

from itertools import pairwise

import numpy as np
import pytest

import offline.measure.prepared
from edge.torch_engine import TorchEngine
from offline.measure.prepared import PreparedImages
from tests.parts import make_engine, random_pixels
from thinwire.nn.merging.transformer import rules_for

POLICIES = [(0.5, 0.4, 0.3), (1.0, 0.4, 0.3), (1.0, 1.0, 0.3), (1.0, 1.0, 1.0), (0.6, 1.0, 0.2)]
PIXELS = random_pixels(23)


@pytest.fixture(name="small_groups", autouse=True)
def small_groups_fixture(monkeypatch):
    monkeypatch.setattr(offline.measure.prepared, "CHUNK", 10)
    monkeypatch.setattr(offline.measure.prepared, "GROUP", 4)


def check_alone(engine, prepared, thresholds):
    seen = []
    for images, part in prepared.transform(rules_for(thresholds)):
        frames = engine.transmit(part, 4, 10.0)
        for image, frame in zip(images, frames, strict=True):
            alone = engine.transmit(engine.transform(PIXELS[[image]], rules_for(thresholds)), 4, 10.0)[0]
            np.testing.assert_allclose(frame.symbols, alone.symbols, atol=1e-5)
            assert frame.merge_map.tolist() == alone.merge_map.tolist()
            assert frame.sizes.tolist() == alone.sizes.tolist()
            assert frame.tokens_per_layer == alone.tokens_per_layer
            assert frame.edge_gmacs == alone.edge_gmacs
        seen += images.tolist()
    assert sorted(seen) == list(range(len(PIXELS)))


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_every_image_gets_what_it_gets_alone(options):
    engine = make_engine(**options)
    prepared = PreparedImages(engine, PIXELS)
    # Twice, since the second time meets what the first has kept.
    for thresholds in POLICIES * 2:
        check_alone(engine, prepared, thresholds)


@pytest.mark.parametrize("layers_kept", [0, 1, 2])
def test_memory_is_bounded(layers_kept):
    engine = make_engine(class_token=False, global_pool="avg")
    layer_bytes = len(PIXELS) * 25 * 24 * 4
    prepared = PreparedImages(engine, PIXELS, max_bytes=layers_kept * layer_bytes + layer_bytes // 2)
    for thresholds in POLICIES * 2:
        check_alone(engine, prepared, thresholds)
        assert sum(kept.numel() * 4 for kept in prepared._kept.values()) <= layers_kept * layer_bytes


def test_the_layers_before_the_first_that_merges_run_once(monkeypatch):
    engine = make_engine(class_token=False, global_pool="avg")
    prepared = PreparedImages(engine, PIXELS)
    list(prepared.transform(rules_for((1.0, 1.0, 0.3))))
    layers = []
    run = TorchEngine.run

    def counting(self, tokens, rules, first=0, margin_of=None):
        layers.extend(range(first, first + len(rules)))
        return run(self, tokens, rules, first, margin_of)

    monkeypatch.setattr(TorchEngine, "run", counting)
    monkeypatch.setattr(TorchEngine, "embed", None)
    list(prepared.transform(rules_for((1.0, 1.0, 0.5))))
    assert set(layers) == {2}


def test_groups_are_of_about_the_same_length():
    engine = make_engine(class_token=False, global_pool="avg")
    parts = list(PreparedImages(engine, PIXELS[:10]).transform(rules_for((0.5, 0.4, 1.0))))
    counts = [part.tokens.counts for _, part in parts]
    assert all(int(first.max()) <= int(second.min()) for first, second in pairwise(counts))
    assert all(part.tokens.x.shape[1] == int(part.tokens.counts.max()) for _, part in parts)
