"""What an eavesdropper receives, against the engine that sends one image at a time."""

from pathlib import Path

import numpy as np
import pytest
import torch

from channel.models.awgn import Awgn
from channel.realisation import keyed_generator
from edge.torch_engine import TorchEngine
from experiments.privacy.overheard import Frames, transmit
from offline.measure.evaluator import LINK_ID, request_id_of
from policies.policy import Policy
from tests.parts import make_engine, random_pixels

UNMERGED = Policy.unmerged(3, 2)
MERGING = Policy.create((0.7, 0.6, 0.6), 4)
LIMITED = Policy.create((0.7, 0.6, 0.6), 8, 3)


@pytest.fixture(name="engine", scope="module")
def engine_fixture() -> TorchEngine:
    return make_engine(class_token=False, global_pool="avg")


def test_without_merging_every_patch_is_its_own_token(engine: TorchEngine) -> None:
    frames = transmit(engine, random_pixels(3), {"a": UNMERGED}, 10.0)["a"]
    assert frames.counts.tolist() == [25] * 3
    assert torch.equal(frames.origin, torch.arange(25).expand(3, 25))
    assert frames.uses == 50


@pytest.mark.parametrize("policy", [MERGING, LIMITED])
def test_frames_are_those_of_images_sent_alone(engine: TorchEngine, policy: Policy) -> None:
    pixels = random_pixels(6)
    frames = transmit(engine, pixels, {"a": UNMERGED, "b": policy}, 10.0)["b"]
    assert frames.counts.max() < 25
    for row, image in enumerate(pixels):
        alone = engine.encode(image, policy, 10.0)
        count = len(alone.symbols)
        assert frames.counts[row] == count
        np.testing.assert_allclose(
            frames.pairs[row, :count].numpy().view(np.complex64)[..., 0], alone.symbols, atol=1e-5
        )
        assert not frames.pairs[row, count:].any()
        assert frames.origin[row].tolist() == alone.merge_map.tolist()
        # What no map that is off by one would give.
        assert np.bincount(frames.origin[row], minlength=count).tolist() == alone.sizes.tolist()


def test_keyed_noise_is_that_of_an_evaluation(engine: TorchEngine) -> None:
    frames = transmit(engine, random_pixels(2), {"a": MERGING}, 10.0)["a"]
    received = frames.through_keyed_noise(5.0, ["x/1", "x/2"], 7)
    for row, name in enumerate(["x/1", "x/2"]):
        count = int(frames.counts[row])
        drawn = Awgn().draw((count, 4), 5.0, keyed_generator(7, LINK_ID, request_id_of(name), 0))
        difference = (received.pairs - frames.pairs)[row, :count].numpy().view(np.complex64)[..., 0]
        np.testing.assert_allclose(difference, drawn.noise, atol=1e-6)
        assert not received.pairs[row, count:].any()


def test_noise_has_the_variance_of_its_snr_and_spares_the_padding() -> None:
    frames = Frames(torch.zeros(200, 10, 8, 2), torch.full((200,), 5), torch.zeros(200, 25, dtype=torch.int64))
    received = frames.through_noise(10.0, torch.Generator().manual_seed(0)).pairs
    assert received[:, :5].square().sum(-1).mean().item() == pytest.approx(0.1, rel=0.05)
    assert not received[:, 5:].any()
    assert frames.through_noise(None, torch.Generator()) is frames


def test_uncoded_tokens_are_the_engines(engine: TorchEngine) -> None:
    pixels = random_pixels(5)
    frames = transmit(engine, pixels, {"a": None}, 10.0)["a"]
    expected = engine.transform(pixels, [None] * 3).tokens.x
    torch.testing.assert_close(frames.pairs.flatten(2), expected, atol=1e-5, rtol=1e-5)


def test_frames_outlive_a_run(engine: TorchEngine, tmp_path: Path) -> None:
    frames = transmit(engine, random_pixels(2), {"a": MERGING}, 10.0)["a"]
    frames.save(tmp_path / "a.npz")
    stored = Frames.load(tmp_path / "a.npz")
    for one, other in zip(
        (frames.pairs, frames.counts, frames.origin), (stored.pairs, stored.counts, stored.origin), strict=True
    ):
        assert torch.equal(one, other)
