"""QAM against Sionna's, and its uncoded bit errors against their closed form."""

import math
from typing import Any

import numpy as np
import pytest

from channel.realisation import complex_noise, noise_variance
from experiments.digital.qam import modulate, soft_bits
from tests.channel.models.theory import assert_mean, q

ORDERS = (2, 4, 6, 8)


def gray_bit_error_rate(order: int, snr_db: float) -> float:
    """Of square QAM with Gray labels over AWGN (Cho and Yoon, 2002, equations 14 and 16)."""
    side, half, snr = 2 ** (order // 2), order // 2, 10 ** (snr_db / 10)
    total = 0.0
    for bit in range(1, half + 1):
        for i in range(int((1 - 2.0**-bit) * side)):
            step = i * 2 ** (bit - 1) / side
            weight = (-1) ** math.floor(step) * (2 ** (bit - 1) - math.floor(step + 0.5))
            total += weight * 2 / side * float(q((2 * i + 1) * math.sqrt(3 * snr / (side**2 - 1))))
    return total / half


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", ORDERS)
def test_symbols_and_soft_bits_are_sionnas(order: int) -> None:
    import torch
    from sionna.phy.mapping import Demapper, Mapper

    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (5, 16 * order), dtype=np.uint8)
    mapper: Any = Mapper("qam", order, device="cpu")
    sent = modulate(bits, order)
    np.testing.assert_allclose(sent, mapper(torch.from_numpy(bits.astype(np.float32))).numpy(), atol=1e-6)
    received = sent + complex_noise(sent.shape, 0.1, generator)
    demapper: Any = Demapper("app", "qam", order, device="cpu")
    theirs = demapper(torch.from_numpy(received), torch.tensor(0.1)).numpy()
    # Theirs are positive for 1.
    np.testing.assert_allclose(soft_bits(received, np.array(0.1), order), -theirs, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("order", "snr_db"),
    [(2, 0.0), (2, 4.0), (2, 8.0), *((order, snr) for order in (4, 6, 8) for snr in (6.0, 10.0, 14.0))],
)
def test_uncoded_bits_err_as_the_closed_form_says(order: int, snr_db: float, seed: int) -> None:
    """The form is that of the nearest symbol; at lower SNR the likelier bit is right more often than that."""
    generator = np.random.default_rng((seed, order))
    bits = generator.integers(0, 2, (40_000, order), dtype=np.uint8)
    received = modulate(bits, order) + complex_noise((40_000, 1), noise_variance(snr_db), generator)
    wrong = (soft_bits(received, np.array(noise_variance(snr_db)), order) < 0) != bits
    assert_mean(wrong.mean(axis=1), gray_bit_error_rate(order, snr_db))


def test_a_symbol_without_power_says_nothing() -> None:
    assert np.abs(soft_bits(np.zeros((1, 3), np.complex64), np.full((1, 3), 1e12), 4)).max() < 1e-6
