"""Backbones from a bundle's specification, and the convolutional stem."""

import pytest
import torch

from thinwire.nn.backbone import ConvStem, VisionTransformer, build_backbone
from thinwire.nn.macs import count_macs

KWARGS = {"img_size": 16, "num_classes": 5, "embed_dim": 24, "depth": 2, "num_heads": 3}


STAGES = ((8, 1), (8, 1), (16, 1))


@pytest.mark.parametrize(
    ("stages", "patch_size", "size", "grid"),
    [
        (((8, 0),), 1, 6, (6, 6)),
        (((8, 1), (16, 2)), 2, 12, (6, 6)),
        (((8, 1), (16, 1), (24, 1)), 4, 32, (8, 8)),
        (((4, 0), (4, 1), (4, 1), (4, 1)), 8, (16, 32), (2, 4)),
        (((8, 1), (16, 1), (24, 2)), 4, (20, 8), (5, 2)),
    ],
)
@torch.inference_mode()
def test_the_stem_gives_one_token_a_patch(stages, patch_size, size, grid):
    stem = ConvStem(stages, size, patch_size, in_chans=2, embed_dim=10).eval()
    height, width = (size, size) if isinstance(size, int) else size
    assert stem(torch.randn(3, 2, height, width)).shape == (3, grid[0] * grid[1], 10)
    assert stem.grid_size == grid
    assert stem.num_patches == grid[0] * grid[1]
    assert stem.patch_size == (patch_size, patch_size)
    assert stem.feat_ratio() == patch_size


@torch.inference_mode()
def test_tokens_of_the_stem_stand_in_raster_order():
    torch.manual_seed(0)
    stem = ConvStem(STAGES, (16, 64), 4, embed_dim=6).eval()
    image = torch.randn(1, 3, 16, 64)
    before = stem(image)
    for row, column in [(0, 0), (1, 5), (3, 15)]:
        changed = image.clone()
        changed[..., 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 5.0
        touched = [divmod(int(token), 16) for token in (stem(changed) - before)[0].any(dim=-1).nonzero()]
        assert (row, column) in touched
        # Three convolutions at full resolution, two at half and two at a quarter see 3 + 4 + 4 + 4 pixels far.
        assert all(abs(at[0] - row) <= 4 and abs(at[1] - column) <= 4 for at in touched)
        assert len(touched) < 64


@torch.inference_mode()
def test_the_stem_costs_what_its_convolutions_do():
    stem = ConvStem(((4, 1), (6, 1)), 8, 2, embed_dim=10).eval()
    at_full, at_half = 64, 16
    expected = at_full * (27 * 4 + 2 * 36 * 4) + at_half * (36 * 6 + 54 * 6 + 4 * 6 + 6 * 10)
    assert count_macs(stem, torch.zeros(1, 3, 8, 8)) == expected


@pytest.mark.parametrize(
    ("stages", "patch_size"),
    [(STAGES, 2), (STAGES, 8), (((8, 1),), 4), (((8, 1), (8, 1), (8, 0)), 4), (((8, 1), (8, 0), (8, 1)), 4)],
)
def test_a_stem_of_another_patch_size_is_refused(stages, patch_size):
    with pytest.raises(ValueError, match=f"expected the stages of patches of {patch_size}"):
        ConvStem(stages, 16, patch_size)


@torch.inference_mode()
def test_a_plain_transformer():
    model = build_backbone({"kwargs": KWARGS | {"patch_size": 4}}).eval()
    assert type(model) is VisionTransformer
    assert (len(model.blocks), model.embed_dim, model.num_classes) == (2, 24, 5)
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


@torch.inference_mode()
def test_a_stem_in_front():
    model = build_backbone({"kwargs": KWARGS | {"patch_size": 4}, "stem": [[8, 1], [8, 1], [16, 1]]}).eval()
    assert isinstance(model.patch_embed, ConvStem)
    assert model.patch_embed.num_patches == 16
    assert model(torch.zeros(2, 3, 16, 16)).shape == (2, 5)


def test_a_model_that_timm_knows():
    model = build_backbone({"timm": "vit_tiny_patch16_224", "kwargs": {"depth": 1, "num_classes": 3}})
    assert (len(model.blocks), model.embed_dim, model.num_classes) == (1, 192, 3)


def test_overrides_win_and_leave_the_specification_as_it_was():
    spec = {"kwargs": KWARGS | {"patch_size": 4}, "stem": [[8, 1], [8, 1], [16, 1]]}
    model = build_backbone(spec, depth=1, drop_path_rate=0.1)
    assert len(model.blocks) == 1
    assert spec == {"kwargs": KWARGS | {"patch_size": 4}, "stem": [[8, 1], [8, 1], [16, 1]]}


@torch.inference_mode()
def test_weights_are_random_and_fit_another_of_the_same_specification():
    spec = {"kwargs": KWARGS | {"patch_size": 4}, "stem": [[8, 1], [8, 1], [16, 1]]}
    torch.manual_seed(0)
    first, second = build_backbone(spec).eval(), build_backbone(spec).eval()
    image = torch.randn(1, 3, 16, 16)
    assert not torch.equal(first.forward_features(image), second.forward_features(image))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.forward_features(image), second.forward_features(image))


def test_what_is_no_vision_transformer_is_refused():
    with pytest.raises(ValueError, match=r"expected a timm VisionTransformer or .* or Eva, got EfficientNet"):
        build_backbone({"timm": "test_efficientnet"})
