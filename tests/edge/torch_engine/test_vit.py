"""Merging on timm models against a slow loop, and against timm itself where nothing merges."""

import numpy as np
import pytest
import torch

from edge.torch_engine.matching import merge_down_to
from edge.torch_engine.tome import TOME, fixed_rules
from edge.torch_engine.vit import embed, rules_for, run_layers
from tests.edge.torch_engine.slow_merging import cap_tokens, run_one
from thinwire.bundle import Merging

ARCHITECTURES = {
    "class token": {},
    "average pooling": {"class_token": False, "global_pool": "avg"},
    "average pooling beside a class token": {"global_pool": "avg"},
    "layer scale, normed queries and keys": {"init_values": 0.5, "qk_norm": True},
    "registers, no position for the class token": {"reg_tokens": 2, "no_embed_class": True},
    "one block": {"depth": 1},
    "norm before the blocks": {"pre_norm": True, "qkv_bias": False},
}


def middling(model, x: torch.Tensor, merging: Merging) -> list[float]:
    """Thresholds that about half of the sources exceed, but the second layer, which merges nothing."""
    medians: list[float] = []

    def watch(best: torch.Tensor) -> torch.Tensor:
        ranked = best.flatten().sort().values
        # Between two similarities, so that no rounding decides.
        medians.append(float(ranked[len(ranked) // 2 - 1 : len(ranked) // 2 + 1].mean()))
        return torch.zeros_like(best, dtype=torch.bool)

    with torch.inference_mode():
        run_layers(list(model.blocks), embed(model, x), [watch] * len(model.blocks), merging)
    return [1.0 if layer == 1 else median for layer, median in enumerate(medians)]


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 3, 20, 20, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_thresholds_of_one_reproduce_timm(make_vit, options):
    model = make_vit(**options)
    x = images(2)
    with torch.inference_mode():
        tokens, counts = run_layers(
            list(model.blocks), embed(model, x), rules_for([1.0] * len(model.blocks)), Merging()
        )
        ours = model.norm(torch.cat((tokens.prefix, tokens.x), dim=1))
        theirs = model.forward_features(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    assert (counts == 25).all()


@pytest.mark.parametrize("options", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_default_merging_is_the_slow_loop(make_vit, options):
    check_against_loop(make_vit(**options), Merging())


@pytest.mark.parametrize(
    "merging",
    [
        Merging(metric="key"),
        Merging(metric="key_mean"),
        Merging(weight="size"),
        Merging(proportional_attention=True),
        Merging(place="layer"),
        Merging(metric="key_mean", weight="size", proportional_attention=True),
    ],
    ids=str,
)
def test_every_kind_of_merging_is_the_slow_loop(make_vit, merging):
    check_against_loop(make_vit(), merging)


def check_against_loop(model, merging):
    x = images(3)
    thresholds = middling(model, x, merging)
    with torch.inference_mode():
        tokens, counts = run_layers(list(model.blocks), embed(model, x), rules_for(thresholds), merging)
    merged = 0
    for index in range(len(x)):
        prefix, expected = run_one(model, x[index], thresholds, merging)
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
    merging = Merging(weight=weight)
    thresholds = middling(model, x, merging)
    with torch.inference_mode():
        tokens, _ = run_layers(list(model.blocks), embed(model, x), rules_for(thresholds), merging)
        capped = merge_down_to(tokens, torch.full((3,), limit), weight)
    for index in range(3):
        _, expected = run_one(model, x[index], thresholds, merging)
        expected = cap_tokens(expected, limit, weight)
        count = len(expected)
        assert int(capped.counts[index]) == count <= limit
        np.testing.assert_allclose(capped.x[index, :count].numpy(), np.stack([t.x for t in expected]), atol=1e-9)
        assert capped.sizes[index, :count].tolist() == [token.size for token in expected]


@pytest.mark.parametrize("r", [0, 3, 6, 20])
def test_tome_is_the_slow_loop(make_vit, r):
    model, x = make_vit(), images(2)
    with torch.inference_mode():
        tokens, counts = run_layers(list(model.blocks), embed(model, x), fixed_rules(3, r), TOME)
    expected_counts = [25]
    for _ in range(3):
        expected_counts.append(expected_counts[-1] - min(r, expected_counts[-1] // 2))
    assert counts.tolist() == [expected_counts] * 2
    for index in range(2):
        prefix, expected = run_one(model, x[index], [-1.1] * 3, TOME, r)
        np.testing.assert_allclose(tokens.prefix[index].numpy(), prefix, atol=1e-9)
        np.testing.assert_allclose(tokens.x[index].numpy(), np.stack([token.x for token in expected]), atol=1e-9)
        assert tokens.sizes[index].tolist() == [token.size for token in expected]


def test_a_batch_gives_each_image_what_it_gets_alone(make_vit):
    model, x = make_vit(), images(5)
    rules = rules_for(middling(model, x, Merging()))
    with torch.inference_mode():
        together, counts = run_layers(list(model.blocks), embed(model, x), rules, Merging())
        for index in range(5):
            alone, own = run_layers(list(model.blocks), embed(model, x[index : index + 1]), rules, Merging())
            assert counts[index].tolist() == own[0].tolist()
            count = int(own[0, -1])
            torch.testing.assert_close(together.x[index, :count], alone.x[0], rtol=0, atol=1e-10)
            assert together.origin[index].tolist() == alone.origin[0].tolist()


def test_the_margin_is_the_distance_to_the_nearest_tie(make_vit):
    model, x = make_vit(), images(1)
    blocks = list(model.blocks)
    middle = middling(model, x, Merging())[0]

    def count_at(threshold):
        with torch.inference_mode():
            thresholds = [threshold, 1.0, 1.0]
            tokens, _ = run_layers(blocks, embed(model, x), rules_for(thresholds), Merging(), thresholds)
        return int(tokens.counts[0]), float(tokens.margin[0])

    count, margin = count_at(middle)
    assert 0 < margin < 0.1
    # Nothing changes within the margin.
    assert count_at(middle + 0.99 * margin)[0] == count_at(middle - 0.99 * margin)[0] == count


def test_a_wrong_number_of_rules_is_refused(make_vit):
    model = make_vit()
    with pytest.raises(ValueError, match="expected 3 rules, got 2"):
        run_layers(list(model.blocks), embed(model, images(1)), [None, None], Merging())


def test_a_block_of_another_kind_is_refused(make_vit):
    from timm.models.vision_transformer import ParallelScalingBlock

    model = make_vit(block_fn=ParallelScalingBlock)
    with pytest.raises(ValueError, match="expected timm's Block with Attention, got ParallelScalingBlock"):
        run_layers(list(model.blocks), embed(model, images(1)), rules_for([1.0] * 3), Merging())
