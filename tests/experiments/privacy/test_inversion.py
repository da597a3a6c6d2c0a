"""The search by optimisation, and the device's side that it looks through."""

import numpy as np
import pytest
import torch

from edge.torch_engine import TorchEngine
from experiments.privacy.inversion import Search, by_place, device_side, mismatch, search, total_variation
from experiments.privacy.overheard import transmit
from policies.policy import Policy
from tests.parts import make_engine, random_pixels

POLICIES = [Policy.unmerged(3, 8), Policy.create((0.7, 0.6, 0.6), 4), Policy.create((0.7, 0.6, 0.6), 8, 3)]


@pytest.fixture(name="engine", scope="module", params=[{"class_token": False, "global_pool": "avg"}, {}])
def engine_fixture(request: pytest.FixtureRequest) -> TorchEngine:
    return make_engine(**request.param or {"global_pool": "token+avg"})


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255


def test_symbols_by_place_are_those_of_an_obvious_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randn(3, 5, 2, 2, generator=generator)
    origin = torch.randint(0, 5, (3, 9), generator=generator)
    found = by_place(pairs, origin)
    for image in range(3):
        for patch in range(9):
            assert torch.equal(found[image, patch], pairs[image, origin[image, patch]])


def test_without_merging_places_are_the_identity() -> None:
    pairs = torch.randn(2, 9, 3, 2)
    assert torch.equal(by_place(pairs, torch.arange(9).expand(2, 9)), pairs)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_device_is_the_one_that_serves(engine: TorchEngine, policy: Policy) -> None:
    pixels = random_pixels(4)
    frames = transmit(engine, pixels, {"a": policy}, 10.0)["a"]
    pairs, tokens = device_side(engine, as_images(pixels), policy, 10.0)
    assert torch.equal(tokens.origin + engine.bundle.prefix_tokens, frames.origin)
    torch.testing.assert_close(pairs[:, : frames.pairs.shape[1]], frames.pairs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_search_sends_more_like_what_was_received(engine: TorchEngine, policy: Policy) -> None:
    pixels = random_pixels(2)
    received = transmit(engine, pixels, {"a": policy}, 10.0)["a"]
    start = torch.full((2, 3, 20, 20), 0.5)
    how = Search(steps=80, learning_rate=0.02, variation=0.0, trust=0.0)
    found = search(engine, received, received.origin, start, policy, 10.0, how)
    target = by_place(received.pairs, received.origin)
    before, after = (mismatch(engine, target, images, policy, 10.0) for images in (start, found))
    assert (after < 0.7 * before).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_search_that_trusts_its_start_stays_there(engine: TorchEngine) -> None:
    received = transmit(engine, random_pixels(1), {"a": POLICIES[0]}, 10.0)["a"]
    start = torch.full((1, 3, 20, 20), 0.5)
    found = search(engine, received, received.origin, start, POLICIES[0], 10.0, Search(steps=30, trust=1e6))
    assert (found - start).abs().max() < 0.02


@pytest.mark.parametrize("policy", POLICIES)
@torch.no_grad()
def test_the_image_itself_has_no_mismatch_and_silence_has_all(engine: TorchEngine, policy: Policy) -> None:
    pixels = random_pixels(2)
    received = transmit(engine, pixels, {"a": policy}, 10.0)["a"]
    target = by_place(received.pairs, received.origin)
    assert mismatch(engine, target, as_images(pixels), policy, 10.0).max() < 1e-6
    # Symbols of the opposite sign are twice as far off as none at all.
    assert mismatch(engine, -target, as_images(pixels), policy, 10.0) == pytest.approx(4.0, abs=1e-3)


def test_total_variation_of_a_ramp_is_its_slope() -> None:
    ramp = torch.arange(10.0).expand(1, 3, 10, 10)
    assert total_variation(ramp) == pytest.approx(1.0)
