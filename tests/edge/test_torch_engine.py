"""The engine: batches, caps, rates, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest

from policies.policy import Policy
from tests.parts import make_engine, random_pixels
from thinwire.errors import BudgetError, InvalidRequestError
from thinwire.nn.merging.transformer import rules_for

MERGING = Policy.create([0.5, 0.4, 0.3], 4)


@pytest.mark.parametrize("options", [{}, {"class_token": False, "global_pool": "avg"}], ids=["class token", "average"])
def test_one_image_is_what_it_is_in_a_batch(options):
    engine = make_engine(**options)
    pixels = random_pixels(6)
    batch = engine.transmit(engine.transform(pixels, rules_for(MERGING.thresholds)), 4, 10.0, 4 * 6)
    assert len({len(encoded.symbols) for encoded in batch}) > 1
    assert any(encoded.capped for encoded in batch)
    for image, together in zip(pixels, batch, strict=True):
        alone = engine.encode(image, MERGING, 10.0, 4 * 6)
        np.testing.assert_allclose(alone.symbols, together.symbols, atol=1e-5)
        assert alone.merge_map.tolist() == together.merge_map.tolist()
        assert (alone.tokens_per_layer, alone.capped) == (together.tokens_per_layer, together.capped)
        assert alone.edge_gmacs == together.edge_gmacs


@pytest.mark.parametrize("cap", [4, 7, 8, 23, 40, 99, 1000, 2**63, 10**600])
def test_the_cap_is_a_guarantee(cap):
    engine = make_engine(class_token=False, global_pool="avg")
    for image in random_pixels(5):
        free = engine.encode(image, MERGING, 10.0)
        capped = engine.encode(image, MERGING, 10.0, cap)
        assert len(capped.symbols) >= 1
        assert capped.symbols.size <= cap
        assert capped.capped == (free.symbols.size > cap)
        assert capped.sizes.sum() == 25
        assert np.bincount(capped.merge_map).tolist() == capped.sizes.tolist()


def test_a_cap_may_leave_the_class_token_alone_where_the_head_reads_it():
    engine = make_engine()
    encoded = engine.encode(random_pixels(1)[0], MERGING, 10.0, 4)
    assert encoded.symbols.shape == (1, 4)
    assert set(encoded.merge_map) == {-1}


@pytest.mark.parametrize(
    ("options", "cap"), [({}, 3), ({"global_pool": "avg"}, 7), ({"class_token": False, "global_pool": "avg"}, 3)]
)
def test_a_cap_under_one_token_is_refused(options, cap):
    with pytest.raises(BudgetError, match="the least that can be sent"):
        make_engine(**options).encode(random_pixels(1)[0], MERGING, 10.0, cap)


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Policy.create([0.5, 0.5], 4), "expected 3 thresholds, one per layer before the split, got 2"),
        (Policy.create([0.5] * 3, 17), "symbols_per_token is at most 8, got 17"),
    ],
)
def test_a_policy_of_another_bundle_is_refused(policy, message):
    with pytest.raises(InvalidRequestError, match=message):
        make_engine().encode(random_pixels(1)[0], policy, 10.0)


@pytest.mark.parametrize("limit", [1, 2, 5, 24, 25, 10**9])
def test_a_policy_may_limit_the_tokens(limit):
    engine = make_engine(class_token=False, global_pool="avg")
    for image in random_pixels(4):
        free = engine.encode(image, MERGING, 10.0)
        limited = engine.encode(image, replace(MERGING, max_tokens=limit), 10.0)
        assert len(limited.symbols) == min(limit, len(free.symbols))
        assert limited.sizes.sum() == 25
        # The policy's own limit is no cap; a tighter budget is.
        assert not limited.capped
        tighter = engine.encode(image, replace(MERGING, max_tokens=limit), 10.0, 4)
        assert tighter.capped == (len(limited.symbols) > 1)
        assert limited.edge_gmacs <= free.edge_gmacs + 1e-4


def test_a_limit_counts_the_class_token():
    engine = make_engine()
    assert len(engine.encode(random_pixels(1)[0], replace(MERGING, max_tokens=3), 10.0).symbols) == 3


def test_a_limit_below_what_the_head_needs_is_refused():
    engine = make_engine(global_pool="avg")
    with pytest.raises(InvalidRequestError, match="max_tokens must be at least 2"):
        engine.encode(random_pixels(1)[0], replace(MERGING, max_tokens=1), 10.0)
