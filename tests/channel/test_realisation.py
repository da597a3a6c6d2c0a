"""``y = h x + n``, the same for numpy and torch."""

import dataclasses
import math

import numpy as np
import pytest

from channel.realisation import Realisation, apply


def test_apply_is_gain_times_symbols_plus_noise() -> None:
    symbols = np.array([[1 + 1j, -1j], [2, 0]], np.complex64)
    noise = np.array([[0.5, 0.25j], [-1, 1 - 1j]], np.complex64)
    received = apply(symbols, Realisation(2j, noise, 0.1))
    # By hand: 2j(1+1j) = -2+2j, 2j(-1j) = 2, 2j*2 = 4j.
    assert received.tolist() == [[-1.5 + 2j, 2 + 0.25j], [-1 + 4j, 1 - 1j]]


def test_apply_keeps_complex64() -> None:
    symbols = np.ones((3, 2), np.complex64)
    assert apply(symbols, Realisation(0.3 + 0.1j, symbols, 1.0)).dtype == np.complex64


def test_realisation_is_frozen() -> None:
    realisation = Realisation(1 + 0j, np.zeros(2, np.complex64), 1.0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        realisation.gain = 2  # type: ignore[misc]


def test_torch_agrees_with_numpy() -> None:
    torch = pytest.importorskip("torch")
    generator = np.random.default_rng(0)
    symbols, noise = generator.standard_normal((2, 5, 4, 2)).astype(np.float32).view(np.complex64)[..., 0]
    gain = complex(np.complex64(0.7 - 0.4j))
    expected = apply(symbols, Realisation(gain, noise, 0.1))
    received = apply(torch.from_numpy(symbols), Realisation(gain, torch.from_numpy(noise), 0.1))
    assert received.dtype == torch.complex64
    # Either library may fuse the multiplication with the addition.
    np.testing.assert_allclose(received.numpy(), expected, rtol=0, atol=4 * np.finfo(np.float32).eps)


def test_torch_batch_gives_each_frame_its_own_gain() -> None:
    torch = pytest.importorskip("torch")
    symbols = torch.ones(3, 4, 2, dtype=torch.complex64)
    gain = torch.tensor([1 + 0j, 2j, -1 + 0j], dtype=torch.complex64).reshape(3, 1, 1)
    received = apply(symbols, Realisation(gain, torch.zeros_like(symbols), torch.full((3, 1, 1), math.nan)))
    assert received[:, 0, 0].tolist() == [1, 2j, -1]
    assert torch.equal(received, gain.expand(3, 4, 2))


def test_in_a_batch_each_frame_has_its_own_amplifier() -> None:
    torch = pytest.importorskip("torch")
    symbols = torch.tensor([[[3 + 4j]], [[3 + 4j]], [[0j]]], dtype=torch.complex64)
    limits = torch.tensor([2.5, torch.finfo(torch.float32).max, 2.5]).reshape(3, 1, 1)
    received = apply(symbols, Realisation(1 + 0j, torch.zeros_like(symbols), 0.1, clip=limits))
    assert received.flatten().tolist() == [1.5 + 2j, 3 + 4j, 0]
