"""The attacker's network learns what there is to learn, the same way every time."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from experiments.privacy.attacker import Attacker, Recipe
from experiments.privacy.overheard import Frames
from thinwire.errors import InvalidRequestError

SIDE, PATCH = 8, 2
PATCHES = (SIDE // PATCH) ** 2


def smooth_pixels(count: int, seed: int) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3))
    return coarse.repeat(2, axis=1).repeat(2, axis=2).astype(np.uint8)


def patches_as_frames(pixels: NDArray[np.uint8]) -> Frames:
    """An identity for a codec: each token holds the pixels of its patch."""
    side = SIDE // PATCH
    tiles = torch.from_numpy(pixels).reshape(len(pixels), side, PATCH, side, PATCH, 3).transpose(2, 3)
    pairs = tiles.reshape(len(pixels), PATCHES, -1, 2).float() / 128 - 1
    counts = torch.full((len(pixels),), PATCHES)
    return Frames(pairs, counts, torch.arange(PATCHES).expand(len(pixels), PATCHES).contiguous())


def halves(count: int, seed: int) -> tuple[Frames, NDArray[np.uint8]]:
    """Pictures of two flat halves, side by side or one above the other, and of two tokens: which, and how bright."""
    generator = np.random.default_rng(seed)
    upright, bright = generator.random(count) < 0.5, generator.integers(0, 256, (count, 2))
    half = np.arange(SIDE) >= SIDE // 2
    second = np.where(upright[:, None, None], half[None, None, :], half[None, :, None]) & np.ones((SIDE, SIDE), bool)
    grey = np.where(second, bright[:, 1, None, None], bright[:, 0, None, None]).astype(np.uint8)
    told = np.broadcast_to(2.0 * upright[:, None] - 1, bright.shape)
    pairs = torch.from_numpy(np.stack((bright / 128 - 1, told), axis=-1)).float()[:, :, None]
    origin = torch.from_numpy(second[:, ::PATCH, ::PATCH].reshape(count, -1)).long()
    return Frames(pairs, torch.full((count,), 2), origin), grey[..., None].repeat(3, axis=-1)


def make(
    folder: Path, recipe: Recipe, count: int = 64, snr_db: float | None = 10.0
) -> tuple[Attacker, Frames, NDArray]:
    own, watched = smooth_pixels(count, 0), smooth_pixels(32, 1)
    attacker = Attacker(patches_as_frames(own), own, snr_db, recipe, folder / "attacker.pt")
    return attacker, patches_as_frames(watched), watched


def test_pixels_sent_as_they_are_are_nearly_got_back(tmp_path: Path) -> None:
    attacker, watched, pixels = make(tmp_path, Recipe(epochs=10, width=32, learning_rate=1e-2), 384, None)
    curve = attacker.run(watched, pixels)
    blank = np.square(pixels / 255 - pixels.mean(0) / 255).mean()
    assert curve[-1] > 25 > -10 * np.log10(blank) + 5
    _, places = attacker.draw(watched)
    assert (places == watched.origin).double().mean() > 0.9


def test_it_learns_which_patches_merged_from_what_is_received(tmp_path: Path) -> None:
    own, pixels = halves(512, 0)
    watched, watched_pixels = halves(64, 1)
    recipe = Recipe(epochs=8, width=32, learning_rate=5e-3, place_loss=1.0)
    attacker = Attacker(own, pixels, None, recipe, tmp_path / "attacker.pt")
    assert attacker.run(watched, watched_pixels)[-1] > 20
    # Places that do not look at the frame are right for three quarters of the patches at most.
    assert (attacker.draw(watched)[1] == watched.origin).double().mean() > 0.95


def test_training_is_deterministic_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    recipe = Recipe(epochs=2, width=16)
    weights = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        attacker, watched, pixels = make(tmp_path / name, recipe)
        curve = attacker.run(watched, pixels)
        weights.append(attacker.network.state_dict())
    # Cut off after its first epoch: what is left is what the checkpoint holds.
    (tmp_path / "c").mkdir()
    attacker, watched, pixels = make(tmp_path / "c", recipe)
    save, saved = torch.save, []

    def cut(state: object, path: Path) -> None:
        save(state, path)
        saved.append(path)
        if len(saved) == 1:
            path.replace(attacker.checkpoint)
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "save", cut)
        with pytest.raises(KeyboardInterrupt):
            attacker.run(watched, pixels)
    attacker, watched, pixels = make(tmp_path / "c", recipe)
    assert attacker.run(watched, pixels) == curve
    weights.append(attacker.network.state_dict())
    for name, expected in weights[0].items():
        assert torch.equal(weights[1][name], expected)
        assert torch.equal(weights[2][name], expected)


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    attacker, watched, pixels = make(tmp_path, Recipe(epochs=1, width=16))
    attacker.run(watched, pixels)
    other, watched, pixels = make(tmp_path, Recipe(epochs=1, width=16), snr_db=5.0)
    with pytest.raises(InvalidRequestError, match="another training"):
        other.run(watched, pixels)


def test_a_finished_training_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attacker, watched, pixels = make(tmp_path, Recipe(epochs=1, width=16))
    curve = attacker.run(watched, pixels)
    again, _, _ = make(tmp_path, Recipe(epochs=1, width=16))

    def no_step(*_: object) -> torch.Tensor:
        raise AssertionError("trained again")

    monkeypatch.setattr(again, "_loss", no_step)
    assert again.run(watched, pixels) == curve


def test_padding_changes_nothing(tmp_path: Path) -> None:
    attacker, watched, pixels = make(tmp_path, Recipe(epochs=1, width=16))
    attacker.run(watched, pixels)
    short = Frames(watched.pairs[:, :5], torch.full((32,), 5), watched.origin.clamp_max(4))
    longer = Frames(torch.nn.functional.pad(short.pairs, (0, 0, 0, 0, 0, 3)), short.counts, short.origin)
    # Uncut, unlike what `draw` is given by `take`.
    with torch.inference_mode():
        alone, _ = attacker.network(short.pairs, short.valid)
        padded, logits = attacker.network(longer.pairs, longer.valid)
    torch.testing.assert_close(alone, padded, atol=1e-5, rtol=1e-5)
    assert torch.isinf(logits[..., 5:]).all()
