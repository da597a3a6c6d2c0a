"""The same key gives the same noise anywhere, and ``y = h x + n`` is the same for numpy and torch."""

import dataclasses
import hashlib
import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from channel.models.rayleigh import Rayleigh
from channel.realisation import Realisation, apply, keyed_generator


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


KEY = (7, "camera-1", "00ff" * 8, 3)
ROOT = Path(__file__).parents[2]


def draw(key: tuple[int, str, str, int]) -> bytes:
    realisation = Rayleigh().draw((5, 3), 4.0, keyed_generator(*key))
    return struct.pack("<dd", realisation.gain.real, realisation.gain.imag) + realisation.noise.tobytes()


def test_noise_does_not_depend_on_what_ran_before() -> None:
    keys = [(7, "camera-1", "00ff" * 8, number) for number in range(20)]
    forwards = {key: draw(key) for key in keys}
    np.random.default_rng().standard_normal(1000)
    backwards = {key: draw(key) for key in reversed(keys)}
    assert forwards == backwards
    assert len(set(forwards.values())) == len(keys)


def test_noise_is_the_same_in_another_process_which_never_imports_torch() -> None:
    program = f"""
import struct, sys
import channel.server
from channel.realisation import keyed_generator
from channel.models.rayleigh import Rayleigh
realisation = Rayleigh().draw((5, 3), 4.0, keyed_generator(*{KEY!r}))
print((struct.pack("<dd", realisation.gain.real, realisation.gain.imag) + realisation.noise.tobytes()).hex())
print(any(name.split(".")[0] in ("torch", "edge", "cloud", "offline", "deploy") for name in sys.modules))
"""
    output = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert output.split() == [draw(KEY).hex(), "False"]


@pytest.mark.parametrize(
    "other",
    [
        (8, "camera-1", "00ff" * 8, 3),
        (7 + 2**63, "camera-1", "00ff" * 8, 3),
        (7, "camera-2", "00ff" * 8, 3),
        (7, "camera-1", "00fe" * 8, 3),
        (7, "camera-1", "00ff" * 8, 4),
        (3, "camera-1", "00ff" * 8, 7),
        (7, "00ff" * 8, "camera-1", 3),
    ],
)
def test_every_part_of_the_key_matters(other: tuple[int, str, str, int]) -> None:
    assert draw(other) != draw(KEY)


def test_no_two_names_share_an_encoding() -> None:
    names = [("a", "bc"), ("ab", "c"), ("abc", ""), ("", "abc"), ("a\0", "bc"), ("a", "\0bc")]
    assert len({draw((0, *name, 0)) for name in names}) == len(names)


def test_the_key_is_the_documented_one() -> None:
    encoding = struct.pack("<QQ8sQ32sQ", 7, 8, b"camera-1", 32, b"00ff" * 8, 3)
    low, high = struct.unpack("<QQ", hashlib.blake2b(encoding, digest_size=16).digest())
    expected = np.random.Philox(counter=0, key=np.array([low, high], np.uint64)).random_raw(8)
    assert np.array_equal(keyed_generator(*KEY).bit_generator.random_raw(8), expected)


def test_numpy_still_draws_the_same_normals() -> None:
    """Reported figures rest on these: if numpy changes its stream, every keyed evaluation changes with it."""
    normals = keyed_generator(*KEY).standard_normal(4)
    assert normals.tolist() == [-0.4769442133288697, 0.8474542503851417, -0.7259175181905216, 1.0399280074483204]


@pytest.mark.parametrize("key", [(-1, "a", "b", 0), (2**64, "a", "b", 0), (0, "a", "b", -1)])
def test_integers_out_of_range_are_refused(key: tuple[int, str, str, int]) -> None:
    with pytest.raises(OverflowError):
        keyed_generator(*key)
