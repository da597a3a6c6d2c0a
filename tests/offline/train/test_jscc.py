"""Training of the codec on a tiny model: it learns, it resumes, and it beats chance by far."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from offline.recipes.recipe import load_recipe, recipe_path
from offline.train.jscc import CodecRecipe, CodecTrainer, token_features
from offline.train.running import weights_digest
from offline.train.teachers import LabelTeacher
from offline.train.token_sets import random_sizes
from tests.offline.train.coloured import BUNDLE, coloured_images
from tests.parts import make_model
from thinwire.errors import InvalidRequestError
from thinwire.nn.towers.timm_tower import TimmTower


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
