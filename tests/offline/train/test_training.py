"""Training on a tiny model: it learns, it resumes to the same weights, and the codec beats chance by far."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from offline.data.images import LabelledImages
from offline.recipes.recipe import load_recipe, recipe_path
from offline.train import classifier
from offline.train.classifier import BackboneRecipe, _cropped, _parameter_groups, accuracy, augment, train_backbone
from offline.train.jscc import CodecRecipe, CodecTrainer, token_features
from offline.train.running import mixed_precision, weights_digest
from offline.train.teachers import LabelTeacher
from offline.train.token_sets import random_sizes
from tests.parts import make_bundle, make_model
from thinwire.errors import InvalidRequestError
from thinwire.nn.towers.timm_tower import TimmTower

BUNDLE = make_bundle(class_token=False, global_pool="avg")
RECIPE = BackboneRecipe(
    epochs_dropped=2,
    epochs_whole=1,
    patch_drop_rate=0.5,
    batch_size=16,
    learning_rate=3e-3,
    weight_decay=0.01,
    label_smoothing=0.1,
)


def coloured_images(count: int, seed: int) -> LabelledImages:
    """Seven classes, each a colour under noise."""
    generator = np.random.default_rng(seed)
    colours = np.random.default_rng(99).integers(40, 216, (7, 1, 1, 3))
    labels = generator.integers(0, 7, count)
    pixels = np.clip(colours[labels] + generator.normal(0, 20, (count, 20, 20, 3)), 0, 255).astype(np.uint8)
    return LabelledImages(tuple(f"{seed}/{i}" for i in range(count)), pixels, labels, BUNDLE.labels)


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


def test_random_sizes_share_out_all_patches():
    sizes = random_sizes(50, 6, 25, np.random.default_rng(0))
    assert (sizes.sum(1) == 25).all()
    assert sizes.min() >= 1
    # From even to very uneven.
    assert sizes.max(1).values.min() < 8
    assert sizes.max() > 12


def test_tokens_that_are_kept_are_not_computed_again(tmp_path, monkeypatch):
    model, images = make_model(BUNDLE), coloured_images(64, 0)
    fresh = token_features(TimmTower(model), 3, images.pixels, BUNDLE.preprocessing, 0)

    calls = []

    def embed(self, inputs, until=None):
        if len(calls) == until:
            raise KeyboardInterrupt
        calls.append(len(inputs))
        return whole(self, inputs)

    def kept(pixels):
        return token_features(TimmTower(model), 3, pixels, BUNDLE.preprocessing, 0, batch=16, kept=tmp_path)

    whole = TimmTower.embed
    monkeypatch.setattr(TimmTower, "embed", lambda self, inputs: embed(self, inputs, until=2))
    with pytest.raises(KeyboardInterrupt):
        kept(images.pixels)
    monkeypatch.setattr(TimmTower, "embed", embed)
    torch.testing.assert_close(kept(images.pixels), fresh, rtol=1e-2, atol=1e-3)
    assert calls == [16] * 4
    # Those of other images are not taken for these.
    assert not torch.equal(kept(255 - images.pixels), fresh)


def test_the_codec_learns_and_resumes(tmp_path):
    model = make_model(BUNDLE)
    features = token_features(TimmTower(model), 3, coloured_images(256, 0).pixels, BUNDLE.preprocessing, 0)
    assert features.shape == (256, 25, 24)
    recipe = CodecRecipe(epochs=3, batch_size=32, learning_rate=3e-3, token_loss=0.1, size_loss=0.1)

    def trainer(name, epochs):
        return CodecTrainer(
            LabelTeacher(model, 3, False),
            BUNDLE.codec,
            replace(recipe, epochs=epochs),
            features,
            tmp_path / name,
            seed=1,
        )

    def loss_of(pair):
        with torch.no_grad():
            return np.mean([float(pair._loss(np.arange(64), np.random.default_rng(i))) for i in range(20)])

    whole = trainer("whole", 3)
    before = loss_of(whole)
    whole.run()
    assert loss_of(whole) < 0.7 * before

    first = trainer("cut", 3)
    first.recipe = replace(recipe, epochs=1)
    first.run()
    resumed = trainer("cut", 3)
    resumed.run()
    for part in ("encoder", "decoder"):
        for name, value in getattr(whole, part).state_dict().items():
            torch.testing.assert_close(getattr(resumed, part).state_dict()[name], value, rtol=0, atol=1e-6)

    stranger = CodecTrainer(
        LabelTeacher(make_model(BUNDLE, seed=5), 3, False), BUNDLE.codec, recipe, features, whole.state.path
    )
    with pytest.raises(InvalidRequestError, match="is of another training"):
        stranger.run()


def test_the_teacher_waits_while_tokens_alone_are_learnt(tmp_path, monkeypatch):
    model, asked = make_model(BUNDLE), []
    divergence = LabelTeacher.divergence
    monkeypatch.setattr(LabelTeacher, "divergence", lambda *one: asked.append(1) or divergence(*one))
    recipe = CodecRecipe(epochs=3, batch_size=4, learning_rate=1e-3, token_loss=0.1, size_loss=0.1, token_epochs=2)
    CodecTrainer(LabelTeacher(model, 3, False), BUNDLE.codec, recipe, torch.randn(8, 25, 24), tmp_path / "c").run()
    assert len(asked) == 2


MIX = ("awgn", "rayleigh", "rician:coherence=16", "gilbert_elliott", "erasure:share=0.2", "phase_noise", "clipping")


@pytest.mark.parametrize("encoder", ["mlp", "attention"])
def test_either_encoder_learns_over_a_mix_of_channels(tmp_path, encoder):
    model = make_model(BUNDLE)
    features = token_features(TimmTower(model), 3, coloured_images(256, 0).pixels, BUNDLE.preprocessing, 0)
    recipe = CodecRecipe(4, 32, 3e-3, 0.1, 0.1, MIX)
    codec = replace(BUNDLE.codec, encoder=encoder)
    trainer = CodecTrainer(LabelTeacher(model, 3, False), codec, recipe, features, tmp_path / "mix", seed=1)

    def loss():
        with torch.no_grad():
            return np.mean([float(trainer._loss(np.arange(64), np.random.default_rng(i))) for i in range(20)])

    before = loss()
    trainer.run()
    assert loss() < 0.7 * before


def test_what_came_later_leaves_older_checkpoints_theirs(tmp_path):
    model = make_model(BUNDLE)
    features = torch.randn(8, 25, 24)
    recipe = CodecRecipe(1, 4, 1e-3, 0.1, 0.1)

    def asked(codec=BUNDLE.codec, recipe=recipe):
        return CodecTrainer(LabelTeacher(model, 3, False), codec, recipe, features, tmp_path / "c").state.asked

    # As the first version spelt it.
    text = (
        f"({weights_digest(model)!r}, "
        "Codec(hidden=32, max_symbols_per_token=8, rates=(1, 2, 4, 8), snr_db=(-5.0, 20.0)), "
        "CodecRecipe(epochs=1, batch_size=4, learning_rate=0.001, token_loss=0.1, size_loss=0.1), 0, (8, 25, 24))"
    )
    assert asked() == hashlib.sha256(text.encode()).hexdigest()
    others = {
        asked(recipe=replace(recipe, channels=("awgn",))),
        asked(replace(BUNDLE.codec, encoder="attention")),
        asked(),
    }
    assert len(others) == 3


def test_a_recipe_may_name_its_encoder_and_its_channels(tmp_path):
    content = json.loads(recipe_path("cifar10").read_text())
    assert load_recipe("cifar10").codec.encoder == "mlp"
    content["codec"]["encoder"] = "attention"
    content["codec_training"]["channels"] = ["erasure:share=0.2", "awgn"]
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(content))
    recipe = load_recipe(str(path))
    assert (recipe.codec.encoder, recipe.codec_training.channels) == ("attention", ("erasure:share=0.2", "awgn"))


def test_channels_of_a_recipe_are_spelt_one_way_and_must_be_there():
    recipe = CodecRecipe(1, 4, 1e-3, 0.1, 0.1, ("rician:coherence=16,k_db=6", "awgn"))
    assert recipe.channels == ("rician:coherence=16", "awgn")
    assert CodecRecipe(1, 4, 1e-3, 0.1, 0.1).channels == ("awgn", "rayleigh")
    for channels, says in (((), "must have at least 1 item"), (("awgn", "fog"), "must be one of .*got 'fog'")):
        with pytest.raises(InvalidRequestError, match=says):
            CodecRecipe(1, 4, 1e-3, 0.1, 0.1, channels)


def test_training_begins_with_the_pair_that_is_given(tmp_path):
    teacher = LabelTeacher(make_model(BUNDLE), 3, False)
    recipe = CodecRecipe(epochs=1, batch_size=32, learning_rate=3e-3, token_loss=0.1, size_loss=0.1)
    features = [torch.randn(32, 25, 24, generator=torch.Generator().manual_seed(seed)).half() for seed in (0, 1)]
    first = CodecTrainer(teacher, BUNDLE.codec, recipe, features[0], tmp_path / "pair.ckpt", seed=1)
    first.run()
    pair = first.encoder, first.decoder
    second = CodecTrainer(teacher, BUNDLE.codec, recipe, features[1], tmp_path / "pair.ckpt", 1, pair)
    for given, ours in zip(pair, (second.encoder, second.decoder), strict=True):
        for name, value in given.named_parameters():
            assert torch.equal(ours.get_parameter(name), value)
    torch.testing.assert_close(second.decoder.mean, features[1].float().mean((0, 1)))
    # What the first left is of another beginning.
    with pytest.raises(InvalidRequestError, match="is of another training"):
        second.run()
