"""Arithmetic coding and quantisation: exact round trips, lengths against entropy, errors against Max's table."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.digital.arithmetic import Decoder, Distribution, Encoder
from experiments.digital.quantiser import Quantiser


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.lists(st.integers(0, 10**6), max_size=30))
def test_symbols_come_back_in_as_many_bits_as_their_probability_asks_for(counts: list[float], drawn: list[int]) -> None:
    distribution = Distribution(counts)
    symbols = [number % len(counts) for number in drawn]
    encoder = Encoder()
    for symbol in symbols:
        encoder.put(distribution, symbol)
    bits = max(1, math.ceil(distribution.costs[symbols].sum() - 1e-9))
    for length in (bits, bits + 9):
        decoder = Decoder(encoder.finish(length))
        assert [decoder.get(distribution) for _ in symbols] == symbols


def test_shares_sum_to_one_and_leave_none_out() -> None:
    for counts in ([0, 5, 0], [0, 0], [1e9, 1], np.arange(256)):
        costs = Distribution(counts).costs
        assert (2.0**-costs).sum() == pytest.approx(1)
        assert np.isfinite(costs).all()


def test_what_does_not_fit_is_an_error() -> None:
    encoder = Encoder()
    for _ in range(10):
        encoder.put(Distribution([1, 1, 1, 1]), 3)
    assert len(encoder.finish(20)) == 20
    with pytest.raises(ValueError, match="do not fit 19 bits"):
        encoder.finish(19)


def test_any_bits_say_something() -> None:
    distribution = Distribution([3, 0, 1])
    for seed in range(20):
        decoder = Decoder(np.random.default_rng(seed).integers(0, 2, 13, dtype=np.uint8))
        assert all(0 <= decoder.get(distribution) < 3 for _ in range(30))


def sets_of_normals(sets: int = 4000, size: int = 5, seed: int = 0) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    scale, offset = np.array([1.0, 3.0]), np.array([0.0, 10.0])
    return [
        (generator.standard_normal((generator.integers(1, size), 2)) * scale + offset).astype(np.float32)
        for _ in range(sets)
    ]


@pytest.mark.parametrize(("bits", "expected"), [(1, 0.3634), (2, 0.1188), (3, 0.03744), (4, 0.01154)])
def test_normal_variables_are_quantised_as_well_as_can_be(bits: int, expected: float) -> None:
    """Max (1960, table II): the least mean squared error of a uniform quantiser of a standard normal variable."""
    quantiser = Quantiser(sets_of_normals(), bits)
    assert quantiser.distortion / ((1 + 9) / 2) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("bits", [1, 3, 8])
def test_sets_of_vectors_come_back(bits: int) -> None:
    quantiser = Quantiser(sets_of_normals(), bits)
    for vectors in sets_of_normals(50, seed=1):
        levels, encoder = quantiser.levels(vectors), Encoder()
        quantiser.put(encoder, levels)
        decoder = Decoder(encoder.finish(math.ceil(quantiser.length(levels) + 1e-9)))
        np.testing.assert_array_equal(quantiser.get(decoder), levels)
    assert np.abs(quantiser.values(levels) - vectors).mean() < 4 / 2**bits


def test_lengths_are_the_entropy_of_what_was_seen() -> None:
    sample = sets_of_normals()
    quantiser = Quantiser(sample, 3)
    lengths = [quantiser.length(quantiser.levels(vectors)) for vectors in sample]
    stacked = quantiser.levels(np.concatenate(sample))
    entropy = 0.0
    for values in (*stacked.T, np.array([len(vectors) for vectors in sample])):
        shares = np.unique(values, return_counts=True)[1] / len(values)
        entropy -= len(values) * float((shares * np.log2(shares)).sum())
    assert sum(lengths) == pytest.approx(entropy, rel=2e-3)


def test_more_vectors_than_were_ever_seen_do_not_fit() -> None:
    quantiser = Quantiser(sets_of_normals(), 2)
    assert quantiser.length(np.zeros((9, 2), dtype=np.int64)) == math.inf
