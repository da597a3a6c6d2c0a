"""The engine in ONNX Runtime does what the one in torch does, and refuses what that refuses."""

from dataclasses import replace

import numpy as np
import pytest

from policies.policy import Policy
from tests.onnx import KINDS, engines
from tests.parts import random_pixels
from thinwire.errors import BudgetError, EngineError, InvalidRequestError
from thinwire.nn.merging.transformer import rules_for

NEAR = 1e-4
LEVELS = ((0.95, 0.9, 0.85), (0.5, 0.4, 0.3), (1.0, 0.3, 1.0), (0.6, 1.0, 0.2), (1.0, 1.0, 1.0), (-1.0, -1.0, -1.0))


def decided(engine, pixels, policy):
    """Whether no decision of the layers was a near tie."""
    transformed = engine.transform(pixels[None], rules_for(policy.thresholds), policy.thresholds)
    return bool(transformed.tokens.margin[0] > NEAR)


def assert_same(encoded, expected):
    assert encoded.tokens_per_layer == expected.tokens_per_layer
    assert encoded.merge_map.tolist() == expected.merge_map.tolist()
    assert encoded.sizes.tolist() == expected.sizes.tolist()
    assert (encoded.capped, encoded.edge_gmacs) == (expected.capped, expected.edge_gmacs)
    assert encoded.symbols.dtype == np.complex64
    np.testing.assert_allclose(encoded.symbols, expected.symbols, atol=2e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_does_what_torch_does(kind):
    in_torch, in_onnx = engines(kind)
    compared = 0
    for index, pixels in enumerate(random_pixels(4)):
        for thresholds in LEVELS:
            policy = Policy.create(thresholds[: in_torch.bundle.split_layer], 1 + index)
            if not decided(in_torch, pixels, policy):
                continue
            limits = [(None, None), (None, 40), (5, None), (9, 7 * (1 + index)), (None, 10**30)]
            for limit, cap in limits:
                asked = replace(policy, max_tokens=limit)
                snr_db = 10.0 - 5 * index
                assert_same(in_onnx.encode(pixels, asked, snr_db, cap), in_torch.encode(pixels, asked, snr_db, cap))
                compared += 1
    assert compared > 50


def test_a_cap_may_leave_the_class_token_alone():
    in_torch, in_onnx = engines("paper")
    policy = Policy.create((0.5, 0.4, 0.3), 4)
    for pixels in random_pixels(3):
        encoded = in_onnx.encode(pixels, policy, 10.0, 4)
        assert encoded.symbols.shape == (1, 4)
        assert set(encoded.merge_map) == {-1}
        assert_same(encoded, in_torch.encode(pixels, policy, 10.0, 4))


def test_equal_similarities_go_to_the_first():
    # One colour: every patch that is not at the border is the same.
    in_torch, in_onnx = engines("shipped")
    pixels = np.full((20, 20, 3), 90, dtype=np.uint8)
    policy = Policy.create((1.0, 1.0, 0.5), 4)
    for cap in (None, 40, 4):
        encoded = in_onnx.encode(pixels, policy, 10.0, cap)
        assert encoded.sizes.sum() == 25
        assert len(encoded.symbols) == len(in_torch.encode(pixels, policy, 10.0, cap).symbols)


def test_many_sources_of_one_destination_make_the_same_average_every_time():
    _, in_onnx = engines("shipped")
    policy = Policy.create((-1.0, -1.0, -1.0), 8)
    pixels = random_pixels(1)[0]
    first = in_onnx.encode(pixels, policy, 10.0)
    for _ in range(50):
        assert np.array_equal(in_onnx.encode(pixels, policy, 10.0).symbols, first.symbols)


@pytest.mark.parametrize(
    ("kind", "policy", "cap", "error", "message"),
    [
        ("paper", Policy.create([0.5] * 2, 4), None, InvalidRequestError, "expected 3 thresholds"),
        ("paper", Policy.create([0.5] * 4, 4), None, InvalidRequestError, "expected 3 thresholds"),
        ("paper", Policy.create([0.5] * 3, 17), None, InvalidRequestError, "symbols_per_token is at most 8"),
        ("paper", Policy.create([0.5] * 3, 4), 3, BudgetError, "the least that can be sent is 1"),
        ("shipped", Policy.create([0.5] * 3, 4), 3, BudgetError, "the least that can be sent is 1"),
        ("registers", Policy.create([0.5] * 2, 4, 2), None, InvalidRequestError, "max_tokens must be at least 3"),
    ],
)
def test_it_refuses_what_torch_refuses(kind, policy, cap, error, message):
    for engine in engines(kind):
        with pytest.raises(error, match=message):
            engine.encode(random_pixels(1)[0], policy, 10.0, cap)


def test_pixels_of_another_size_are_refused():
    _, engine = engines("paper")
    for pixels in (np.zeros((21, 20, 3), np.uint8), np.zeros((20, 20, 3), np.float32)):
        with pytest.raises(InvalidRequestError, match="expected 20 x 20 x 3 uint8 pixels"):
            engine.encode(pixels, Policy.create([1.0] * 3, 4), 10.0)


def test_symbols_that_are_not_finite_are_not_sent():
    for engine in engines("paper"):
        with pytest.raises(EngineError, match="no finite symbols"):
            engine.encode(random_pixels(1)[0], Policy.create([0.5] * 3, 4), float("nan"))
