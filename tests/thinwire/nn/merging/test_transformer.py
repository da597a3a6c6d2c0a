"""Merging against a slow loop, and against timm and transformers themselves where nothing merges."""

import numpy as np
import pytest
import torch

from tests.thinwire.nn.merging.slow_merging import cap_tokens, run_one, timm_parts, transformers_parts
from tests.towers import make_pair
from thinwire.bundle import Merging
from thinwire.nn.backbone import Block
from thinwire.nn.merging.matching import merge_down_to
from thinwire.nn.merging.tome import TOME, fixed_rules
from thinwire.nn.merging.transformer import embed, rules_for, run_layers
from thinwire.nn.towers.interface import Tower
from thinwire.nn.towers.timm_tower import TimmTower

ARCHITECTURES = {
    "class token": {},
    "average pooling": {"class_token": False, "global_pool": "avg"},
    "average pooling beside a class token": {"global_pool": "avg"},
    "layer scale, normed queries and keys": {"init_values": 0.5, "qk_norm": True},
    "registers, no position for the class token": {"reg_tokens": 2, "no_embed_class": True},
    "one block": {"depth": 1},
    "norm before the blocks": {"pre_norm": True, "qkv_bias": False},
}


def middling(tower: Tower, x: torch.Tensor, merging: Merging) -> list[float]:
    """Thresholds that about half of the sources exceed, but the second layer, which merges nothing."""
    medians: list[float] = []

    def watch(best: torch.Tensor) -> torch.Tensor:
        ranked = best.flatten().sort().values
        # Between two similarities, so that no rounding decides.
        medians.append(float(ranked[len(ranked) // 2 - 1 : len(ranked) // 2 + 1].mean()))
        return torch.zeros_like(best, dtype=torch.bool)

    with torch.inference_mode():
        run_layers(tower, embed(tower, x), [watch] * tower.depth, merging)
    return [1.0 if layer == 1 else median for layer, median in enumerate(medians)]


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 20, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_thresholds_of_one_reproduce_timm(make_vit, options):
    model = make_vit(**options)
    tower, x = TimmTower(model), images(2)
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), rules_for([1.0] * tower.depth), Merging())
        ours = model.norm(torch.cat((tokens.prefix, tokens.x), dim=1))
        theirs = model.forward_features(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert (counts == 25).all()


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_default_merging_is_the_slow_loop(make_vit, options):
    model = make_vit(**options)
    check_against_loop(TimmTower(model), timm_parts(model), Merging())


@pytest.mark.parametrize(
    "merging",
    [
        Merging(metric="key"),
        Merging(metric="value_head"),
        Merging(metric="key_mean"),
        Merging(weight="size"),
        Merging(proportional_attention=True),
        Merging(place="layer"),
        Merging(metric="key_mean", weight="size", proportional_attention=True),
    ],
    ids=str,
)
def test_every_kind_of_merging_is_the_slow_loop(make_vit, merging):
    model = make_vit()
    check_against_loop(TimmTower(model), timm_parts(model), merging)


@pytest.mark.parametrize(
    "merging", [Merging(metric="key"), Merging(metric="key", proportional_attention=True)], ids=str
)
def test_a_vector_that_is_added_to_all_keys_changes_nothing(make_vit, merging):
    """It adds the same to all logits of a query, so attention does not see it, and the metric must not either."""
    model, x = make_vit(), images(3)
    tower = TimmTower(model)
    rules = rules_for(middling(tower, x, merging))
    with torch.inference_mode():
        before, counts = run_layers(tower, embed(tower, x), rules, merging)
        for block in model.blocks:
            width = model.embed_dim
            block.attn.qkv.bias[width : 2 * width] += 3.0
        after, after_counts = run_layers(tower, embed(tower, x), rules, merging)
    assert counts[0, -1] < 25
    assert torch.equal(counts, after_counts)
    assert torch.equal(before.origin, after.origin)
    torch.testing.assert_close(before.x, after.x, rtol=1e-9, atol=1e-9)


def check_against_loop(tower, parts, merging):
    x = images(3)
    thresholds = middling(tower, x, merging)
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), rules_for(thresholds), merging)
    merged = 0
    for index in range(len(x)):
        prefix, expected = run_one(parts, x[index], thresholds, merging)
        count = len(expected)
        merged += 25 - count
        assert int(tokens.counts[index]) == count == int(counts[index, -1])
        np.testing.assert_allclose(tokens.prefix[index].numpy(), prefix, atol=1e-9)
        np.testing.assert_allclose(tokens.x[index, :count].numpy(), np.stack([t.x for t in expected]), atol=1e-9)
        assert tokens.sizes[index, :count].tolist() == [token.size for token in expected]
        origin = {patch: rank for rank, token in enumerate(expected) for patch in token.patches}
        assert tokens.origin[index].tolist() == [origin[patch] for patch in range(25)]
    # Images must end with different counts, or padding was never tried.
    assert merged > 10
    assert len(set(tokens.counts.tolist())) > 1


@pytest.mark.parametrize("weight", ["norm", "size"])
@pytest.mark.parametrize("limit", [1, 2, 5, 11, 12, 24])
def test_the_cap_is_the_slow_loop(make_vit, limit, weight):
    model, x = make_vit(), images(3)
    tower, merging = TimmTower(model), Merging(weight=weight)
    thresholds = middling(tower, x, merging)
    with torch.inference_mode():
        tokens, _ = run_layers(tower, embed(tower, x), rules_for(thresholds), merging)
        capped = merge_down_to(tokens, torch.full((3,), limit), weight)
    for index in range(3):
        _, expected = run_one(timm_parts(model), x[index], thresholds, merging)
        expected = cap_tokens(expected, limit, weight)
        count = len(expected)
        assert int(capped.counts[index]) == count <= limit
        np.testing.assert_allclose(capped.x[index, :count].numpy(), np.stack([t.x for t in expected]), atol=1e-9)
        assert capped.sizes[index, :count].tolist() == [token.size for token in expected]


@pytest.mark.parametrize("r", [0, 3, 6, 20])
def test_tome_is_the_slow_loop(make_vit, r):
    model, x = make_vit(), images(2)
    tower = TimmTower(model)
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), fixed_rules(3, r), TOME)
    expected_counts = [25]
    for _ in range(3):
        expected_counts.append(expected_counts[-1] - min(r, expected_counts[-1] // 2))
    assert counts.tolist() == [expected_counts] * 2
    for index in range(2):
        prefix, expected = run_one(timm_parts(model), x[index], [-1.1] * 3, TOME, r)
        np.testing.assert_allclose(tokens.prefix[index].numpy(), prefix, atol=1e-9)
        np.testing.assert_allclose(tokens.x[index].numpy(), np.stack([token.x for token in expected]), atol=1e-9)
        assert tokens.sizes[index].tolist() == [token.size for token in expected]


def test_a_batch_gives_each_image_what_it_gets_alone(make_vit):
    tower, x = TimmTower(make_vit()), images(5)
    rules = rules_for(middling(tower, x, Merging()))
    with torch.inference_mode():
        together, counts = run_layers(tower, embed(tower, x), rules, Merging())
        for index in range(5):
            alone, own = run_layers(tower, embed(tower, x[index : index + 1]), rules, Merging())
            assert counts[index].tolist() == own[0].tolist()
            count = int(own[0, -1])
            torch.testing.assert_close(together.x[index, :count], alone.x[0], rtol=0, atol=1e-10)
            assert together.origin[index].tolist() == alone.origin[0].tolist()


def test_the_margin_is_the_distance_to_the_nearest_tie(make_vit):
    tower, x = TimmTower(make_vit()), images(1)
    middle = middling(tower, x, Merging())[0]

    def count_at(threshold):
        with torch.inference_mode():
            thresholds = [threshold, 1.0, 1.0]
            tokens, _ = run_layers(tower, embed(tower, x), rules_for(thresholds), Merging(), thresholds)
        return int(tokens.counts[0]), float(tokens.margin[0])

    count, margin = count_at(middle)
    assert 0 < margin < 0.1
    # Nothing changes within the margin.
    assert count_at(middle + 0.99 * margin)[0] == count_at(middle - 0.99 * margin)[0] == count


@pytest.mark.parametrize("first", [0, 1, 3])
def test_more_rules_than_layers_are_refused(make_vit, first):
    tower = TimmTower(make_vit())
    with pytest.raises(ValueError, match=f"expected at most {3 - first} rules, got 4"):
        run_layers(tower, embed(tower, images(1)), [None] * 4, Merging(), first=first)


def test_layers_may_run_in_parts(make_vit):
    tower, x = TimmTower(make_vit()), images(2)
    thresholds = middling(tower, x, Merging())
    with torch.inference_mode():
        whole, counts = run_layers(tower, embed(tower, x), rules_for(thresholds), Merging())
        part, first = run_layers(tower, embed(tower, x), rules_for(thresholds[:1]), Merging())
        part, second = run_layers(tower, part, rules_for(thresholds[1:]), Merging(), first=1)
    assert torch.equal(part.x, whole.x)
    assert torch.equal(torch.cat((first, second[:, 1:]), dim=1), counts)


def test_a_block_of_another_kind_is_refused(make_vit):
    class Other(Block):
        """Computes who knows what."""

    with pytest.raises(ValueError, match="expected timm's own blocks, got Other"):
        TimmTower(make_vit(block_fn=Other))


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("feature_layer", [-1, -2, 3])
def test_thresholds_of_one_reproduce_transformers(name, feature_layer):
    model, tower = make_pair(name, feature_layer)
    x = images(2)
    with torch.inference_mode():
        tokens, counts = run_layers(tower, embed(tower, x), rules_for([1.0] * tower.depth), Merging())
        theirs = model(x, output_hidden_states=True).hidden_states[feature_layer]
    assert tower.depth == (feature_layer if feature_layer > 0 else 5 + feature_layer)
    assert tokens.prefix.shape == (2, 1 if name == "clip" else 0, 24)
    torch.testing.assert_close(torch.cat((tokens.prefix, tokens.x), dim=1), theirs, rtol=1e-10, atol=1e-10)
    assert (counts == 25).all()


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("proportional", [False, True], ids=["", "sizes count"])
@pytest.mark.parametrize("place", ["attention", "layer"])
@pytest.mark.parametrize("metric", ["value", "value_head", "key", "key_mean"])
def test_merging_in_transformers_towers_is_the_slow_loop(name, proportional, place, metric):
    model, tower = make_pair(name, -2)
    weight = "size" if proportional else "norm"
    check_against_loop(tower, transformers_parts(model, tower.depth), Merging(metric, weight, proportional, place))
