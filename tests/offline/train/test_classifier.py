"""Training of a classifier on a tiny model: it learns, and it resumes to the same weights."""

from dataclasses import replace

import pytest
import torch

from offline.train import classifier
from offline.train.classifier import BackboneRecipe, _cropped, _parameter_groups, accuracy, augment, train_backbone
from offline.train.running import mixed_precision
from tests.offline.train.coloured import BUNDLE, coloured_images
from tests.parts import make_model
from thinwire.errors import InvalidRequestError

RECIPE = BackboneRecipe(
    epochs_dropped=2,
    epochs_whole=1,
    patch_drop_rate=0.5,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.01,
    label_smoothing=0.1,
)


def train(checkpoint, recipe=RECIPE, begin_with=None):
    images = coloured_images(320, 0), coloured_images(70, 1)
    return train_backbone(BUNDLE.model, recipe, *images, BUNDLE.preprocessing, checkpoint, 3, begin_with)


def test_a_run_that_was_cut_off_ends_with_the_weights_of_one_that_was_not(tmp_path, monkeypatch):
    # Of 20 steps in each epoch.
    monkeypatch.setattr(classifier, "STEPS_BETWEEN_CHECKPOINTS", 7)
    whole = train(tmp_path / "whole.ckpt")
    assert accuracy(whole, coloured_images(70, 2), BUNDLE.preprocessing) > 0.6

    class CutOff(Exception):  # noqa: N818
        """Stands for a kill during the second epoch, after steps 7, 14, 20 and 21 were kept."""

    saves = 0
    save = torch.save

    def save_and_die(*arguments):
        nonlocal saves
        saves += 1
        save(*arguments)
        if saves == 4:
            raise CutOff

    monkeypatch.setattr(torch, "save", save_and_die)
    with pytest.raises(CutOff):
        train(tmp_path / "cut.ckpt")
    monkeypatch.setattr(torch, "save", save)
    # What was cut off lies beside the third, which is whole.
    assert torch.load(tmp_path / "cut.ckpt", weights_only=True)["step"] == 20
    (tmp_path / "cut.partial").replace(tmp_path / "cut.ckpt")
    assert torch.load(tmp_path / "cut.ckpt", weights_only=True)["step"] == 21
    resumed = train(tmp_path / "cut.ckpt")
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=1e-6)


def test_rates_follow_one_cycle_and_an_interrupted_one_goes_on(tmp_path, monkeypatch):
    rates: list[float] = []
    step, stop_at = torch.optim.AdamW.step, None

    def watched(optimiser, *arguments, **named):
        if len(rates) == stop_at:
            raise KeyboardInterrupt
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments, **named)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    monkeypatch.setattr("offline.train.classifier.STEPS_BETWEEN_CHECKPOINTS", 7)
    train(tmp_path / "whole.ckpt")
    whole = list(rates)
    assert len(whole) == 3 * 320 // RECIPE.batch_size
    assert whole[0] == pytest.approx(RECIPE.learning_rate / 25)
    assert max(whole) == pytest.approx(RECIPE.learning_rate, rel=0.02)
    assert whole[-1] < 0.05 * RECIPE.learning_rate
    # 42 is the last multiple of seven before it.
    rates.clear()
    stop_at = 45
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut.ckpt")
    rates.clear()
    stop_at = None
    train(tmp_path / "cut.ckpt")
    assert rates == whole[42:]


def test_rates_fall_from_layer_to_layer_and_the_lowest_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(classifier, "LEAST_SHARE", 0.2)
    recipe = replace(RECIPE, epochs_dropped=1, epochs_whole=0, layer_decay=0.5, head_learning_rate=1e-2)
    model = make_model(BUNDLE)
    rates = {id(one): group["lr"] for group in _parameter_groups(model, recipe) for one in group["params"]}
    blocks = [rates.get(id(block.mlp.fc1.weight)) for block in model.blocks]
    assert blocks == [None] * (len(blocks) - 2) + [recipe.learning_rate / 4, recipe.learning_rate / 2]
    assert rates[id(model.fc_norm.weight)] == recipe.learning_rate
    assert rates[id(model.head.weight)] == 1e-2
    given = make_model(BUNDLE, seed=8).state_dict()
    tuned = train(tmp_path / "tuned.ckpt", recipe, given)
    assert all(one.requires_grad for one in tuned.parameters())
    stayed = {name for name, value in tuned.state_dict().items() if torch.equal(value, given[name])}
    assert {int(name.split(".")[1]) for name in stayed if name.startswith("blocks")} == set(range(len(blocks) - 2))
    assert {"pos_embed", "patch_embed.proj.weight"} <= stayed


def test_fine_tuning_on_part_of_the_patches_begins_where_it_is_told(tmp_path):
    recipe = replace(RECIPE, epochs_dropped=1, epochs_whole=0, learning_rate=1e-9, weight_decay=0.0)
    given = make_model(BUNDLE, seed=8).state_dict()
    tuned = train(tmp_path / "tuned.ckpt", recipe, given)
    for name, value in tuned.state_dict().items():
        torch.testing.assert_close(value, given[name], rtol=0, atol=1e-5)
    # A head that learns fast beside a body that does not.
    tuned = train(tmp_path / "head.ckpt", replace(recipe, head_learning_rate=1e-2), given)
    moved = {name for name, value in tuned.state_dict().items() if (value - given[name]).abs().max() > 1e-3}
    assert moved == {"head.weight", "head.bias"}
    # Nothing is dropped any more from what is trained, whatever mode it is in.
    assert isinstance(tuned.patch_drop, torch.nn.Identity)
    with pytest.raises(InvalidRequestError, match="is of another training"):
        train(tmp_path / "tuned.ckpt", recipe, make_model(BUNDLE, seed=9).state_dict())


def test_a_recipe_of_no_epoch_is_refused():
    assert replace(RECIPE, epochs_whole=0).epochs == 2
    with pytest.raises(InvalidRequestError, match="epochs_whole: expected an epoch at least, dropped or whole"):
        replace(RECIPE, epochs_dropped=0, epochs_whole=0)


def test_every_parameter_is_learnt_once_and_vectors_do_not_decay():
    model = make_model(BUNDLE)
    groups = _parameter_groups(model, replace(RECIPE, head_learning_rate=0.5))
    assert sorted(id(one) for group in groups for one in group["params"]) == sorted(map(id, model.parameters()))
    for group in groups:
        for one in group["params"]:
            assert group["weight_decay"] == (RECIPE.weight_decay if one.ndim > 1 else 0)
            is_head = one is model.head.weight or one is model.head.bias
            assert group["lr"] == (0.5 if is_head else RECIPE.learning_rate)


@pytest.mark.parametrize("able", [{"avx512_bf16": True}, {"avx512_bf16": False}, {}], ids=str)
def test_a_cpu_computes_in_half_precision_where_it_can_multiply_it(monkeypatch, able):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    with mixed_precision(torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if able.get("avx512_bf16") else torch.float32)


def test_a_checkpoint_of_another_training_or_of_none_is_refused(tmp_path):
    short = replace(RECIPE, epochs_dropped=0, epochs_whole=1)
    train(tmp_path / "one.ckpt", short)
    with pytest.raises(InvalidRequestError, match="is of another training"):
        train(tmp_path / "one.ckpt", replace(short, learning_rate=1e-3))
    whole = (tmp_path / "one.ckpt").read_bytes()
    (tmp_path / "one.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidRequestError, match="no checkpoint that can be read"):
        train(tmp_path / "one.ckpt", short)


def test_augmentation_keeps_shape_range_and_draws_per_image():
    images = torch.randint(0, 256, (8, 3, 20, 20), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[1] = images[0]
    changed = augment(images, torch.Generator().manual_seed(5))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255
    assert not torch.equal(changed[0], changed[1])
    assert torch.equal(changed, augment(images, torch.Generator().manual_seed(5)))


def test_augmentation_cuts_a_square_out_of_each_image():
    images = torch.zeros(400, 3, 20, 20, dtype=torch.uint8)
    images[:, :, ::2] = 200
    changed = augment(images, torch.Generator().manual_seed(5))
    cut = (changed - changed.mean((1, 2, 3), keepdim=True)).abs().amax(1) < 12
    area = cut.sum((1, 2))
    assert area.max() == 25
    # Partly outside near the border, never wholly.
    assert area.min() >= 9
    # Everywhere alike: each pixel within a few standard errors of the mean away from the border.
    share = cut.float().mean(0)[3:-3, 3:-3]
    assert ((share > 0.01) & (share < 0.15)).all()


def test_crops_have_the_area_and_aspect_that_they_may_and_are_flipped_at_random():
    width = 64
    ramp = torch.arange(width) * 2.0
    where = torch.stack([ramp.expand(width, width), ramp[:, None].expand(width, width), torch.zeros(width, width)])
    crops = _cropped(where.expand(500, 3, width, width).to(torch.uint8), torch.Generator().manual_seed(0), 0.35)
    # What is read off two pixels in from the border, where no value is of the padding.
    across = (crops[:, 0, 0, -2] - crops[:, 0, 0, 1]) / 2 / (width - 3)
    down = (crops[:, 1, -2, 0] - crops[:, 1, 1, 0]) / 2 / (width - 3)
    area, aspect = across.abs() * down, across.abs() / down
    assert (area.min(), area.max()) == (pytest.approx(0.35, abs=0.02), pytest.approx(1, abs=0.02))
    assert (aspect.min(), aspect.max()) == (pytest.approx(3 / 4, abs=0.01), pytest.approx(4 / 3, abs=0.01))
    assert 0.4 < (across > 0).float().mean() < 0.6
    assert crops.min() >= 0
    assert crops.max() <= 2 * width - 2
