"""What holds of merging for any tokens, thresholds, batches and caps."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.nn.merging.matching import above, match, merge_by, merge_down_to
from thinwire.nn.merging.tokens import Tokens

WEIGHTS = st.sampled_from(["norm", "size"])
SEEDS = st.integers(0, 2**32 - 1)


def make_tokens(seed: int, batch: int, patches: int, prefix: int = 1) -> Tokens:
    """Random tokens in float64, some of them alike, zero or repeated."""
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(batch, prefix + patches, 6)) + 2 * generator.normal(size=(batch, 1, 6))
    x[generator.random(x.shape[:2]) < 0.1] = 0
    if patches > 2:
        x[:, -1] = x[:, prefix]
    return Tokens.from_embedding(torch.from_numpy(x), prefix)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 21), st.floats(-1, 1), WEIGHTS, st.integers(1, 4))
def test_every_patch_is_in_one_token_and_sizes_say_how_many(seed, batch, patches, threshold, weight, layers):
    tokens = make_tokens(seed, batch, patches)
    for _ in range(layers):
        before = tokens.counts
        tokens = merge_by(tokens, tokens.x, above(threshold), weight)
        assert (tokens.counts >= before - before // 2).all()
    for index in range(batch):
        count = int(tokens.counts[index])
        held = torch.bincount(tokens.origin[index], minlength=count)
        assert held.tolist() == tokens.sizes[index, :count].long().tolist()
        assert held.sum() == patches
        assert held.min() >= 1
    assert torch.isfinite(tokens.x).all()


@settings(deadline=None)
@given(SEEDS, st.integers(2, 5), st.integers(2, 15), st.floats(-1, 1), WEIGHTS)
def test_permuting_a_batch_permutes_its_result(seed, batch, patches, threshold, weight):
    tokens = make_tokens(seed, batch, patches)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(batch))
    embedded = torch.cat((tokens.prefix, tokens.x), dim=1)
    merged = merge_by(tokens, tokens.x, above(threshold), weight)
    permuted = Tokens.from_embedding(embedded[order], 1)
    permuted = merge_by(permuted, permuted.x, above(threshold), weight)
    assert torch.equal(merged.x[order], permuted.x)
    assert torch.equal(merged.origin[order], permuted.origin)
    assert torch.equal(merged.counts[order], permuted.counts)


@settings(deadline=None)
@given(SEEDS, st.integers(2, 21), st.floats(-1, 1), st.floats(0, 1))
def test_a_higher_threshold_never_merges_more(seed, patches, threshold, more):
    tokens = make_tokens(seed, 3, patches)
    best, _, _ = match(tokens.x, tokens.valid)
    low, high = above(threshold)(best), above(threshold + more)(best)
    assert (high & ~low).sum() == 0


@settings(deadline=None)
@given(SEEDS, st.integers(1, 21), st.floats(-1, 1), WEIGHTS)
def test_prefix_tokens_are_untouched(seed, patches, threshold, weight):
    tokens = make_tokens(seed, 2, patches, prefix=2)
    merged = merge_by(tokens, tokens.x, above(threshold), weight)
    assert torch.equal(merged.prefix, tokens.prefix)


@settings(deadline=None)
@given(SEEDS, st.integers(1, 4), st.integers(1, 40), st.data(), WEIGHTS)
def test_the_cap_ends_within_its_limit_and_never_under_one_token(seed, batch, patches, data, weight):
    tokens = merge_by(make_tokens(seed, batch, patches), make_tokens(seed + 1, batch, patches).x, above(0.2), weight)
    limits = torch.tensor(data.draw(st.lists(st.integers(1, 45), min_size=batch, max_size=batch)))
    capped = merge_down_to(tokens, limits, weight)
    assert (capped.counts >= 1).all()
    assert torch.equal(capped.counts, torch.minimum(tokens.counts, limits))
    assert (capped.sizes * capped.valid).sum(1).tolist() == [patches] * batch


@settings(deadline=None)
@given(SEEDS, st.integers(2, 12), st.floats(-1, 0.9), WEIGHTS)
def test_a_merged_token_lies_in_the_hull_of_its_group(seed, patches, threshold, weight):
    tokens = make_tokens(seed, 1, patches, prefix=0)
    merged = merge_by(tokens, tokens.x, above(threshold), weight)
    for row in range(int(merged.counts[0])):
        group = tokens.x[0, merged.origin[0] == row]
        assert (merged.x[0, row] >= group.amin(0) - 1e-9).all()
        assert (merged.x[0, row] <= group.amax(0) + 1e-9).all()
