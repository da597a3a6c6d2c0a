"""A class token that runs and that the head discards: it is neither merged nor encoded, sent or counted."""

import numpy as np
import pytest
import torch

from offline.measure.prepared import PreparedImages
from policies.policy import Policy
from tests.offline.measure.test_prepared import check_alone
from tests.parts import random_pixels
from tests.towers import make_vqa_engine
from thinwire.errors import BudgetError, InvalidRequestError
from thinwire.nn.merging.transformer import embed, rules_for, run_layers

MERGING = Policy.create([0.9, 0.85, 0.8], 4)


def test_nothing_of_it_is_sent():
    kept, dropped = make_vqa_engine(prefix_tokens=1), make_vqa_engine(prefix_tokens=0)
    for image in random_pixels(4):
        with_it, without = kept.encode(image, MERGING, 10.0), dropped.encode(image, MERGING, 10.0)
        assert len(without.symbols) == len(with_it.symbols) - 1 == without.tokens_per_layer[-1] < 25
        assert (without.merge_map == with_it.merge_map - 1).all()
        assert without.merge_map.min() == 0
        assert without.sizes.tolist() == with_it.sizes[1:].tolist()
        assert without.sizes.sum() == 25
        assert np.bincount(without.merge_map).tolist() == without.sizes.tolist()
        # It runs all the same: only its encoding is saved.
        saved = with_it.edge_gmacs - without.edge_gmacs
        assert saved * 1e9 == pytest.approx(kept.encoder.macs_per_token(), rel=1e-6)


@torch.inference_mode()
def test_what_is_encoded_is_the_patches():
    engine = make_vqa_engine()
    pixels = random_pixels(3)
    transformed = engine.transform(pixels, rules_for(MERGING.thresholds))
    tokens = engine.embed(pixels)
    whole, _ = run_layers(engine.tower, tokens, rules_for(MERGING.thresholds), engine.bundle.merging)
    assert whole.prefix.shape == (3, 1, 24)
    assert transformed.tokens.prefix.shape == (3, 0, 24)
    assert torch.equal(transformed.tokens.x, whole.x)


@torch.inference_mode()
def test_merging_looks_past_it():
    # Whatever the class token is, the same patches merge at the first layer.
    engine = make_vqa_engine()
    tokens = embed(engine.tower, torch.rand(2, 3, 20, 20))
    seen = []

    def watch(best):
        seen.append(best)
        return torch.ones_like(best, dtype=torch.bool) & (best > 0.5)

    for prefix in (tokens.prefix, tokens.prefix + 5):
        changed = type(tokens)(**vars(tokens) | {"prefix": prefix})
        after, _ = run_layers(engine.tower, changed, [watch], engine.bundle.merging)
        assert after.prefix.shape == (2, 1, 24)
    torch.testing.assert_close(seen[0], seen[1])


@pytest.mark.parametrize("cap", [4, 7, 8, 23, 40, 99, 1000])
def test_the_cap_goes_down_to_one_patch(cap):
    engine = make_vqa_engine()
    assert engine.least_tokens == 1
    for image in random_pixels(3):
        free, capped = engine.encode(image, MERGING, 10.0), engine.encode(image, MERGING, 10.0, cap)
        assert capped.symbols.size <= cap
        assert capped.capped == (free.symbols.size > cap)
        assert len(capped.symbols) == min(cap // 4, len(free.symbols))
        assert capped.sizes.sum() == 25
        assert np.bincount(capped.merge_map).tolist() == capped.sizes.tolist()


def test_less_than_one_patch_is_refused():
    engine, image = make_vqa_engine(), random_pixels(1)[0]
    with pytest.raises(BudgetError, match="the least that can be sent is 1"):
        engine.encode(image, MERGING, 10.0, 3)
    with pytest.raises(InvalidRequestError, match="max_tokens must be at least 2"):
        make_vqa_engine(prefix_tokens=1).encode(image, Policy.create([1.0] * 3, 4, max_tokens=1), 10.0)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_every_prepared_image_gets_what_it_gets_alone(name, monkeypatch):
    monkeypatch.setattr("offline.measure.prepared.CHUNK", 10)
    monkeypatch.setattr("offline.measure.prepared.GROUP", 4)
    engine = make_vqa_engine(name)
    prepared = PreparedImages(engine, random_pixels(23))
    for thresholds in [(0.9, 0.85, 0.8), (1.0, 1.0, 1.0), (1.0, 0.85, 1.0), (1.0, 1.0, 0.8)] * 2:
        check_alone(engine, prepared, thresholds)
