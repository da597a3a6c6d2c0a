"""The block code, the LDPC code and its decoder: distances, round trips, errors against theory and against Sionna."""

from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import torch

from channel.realisation import complex_noise, noise_variance
from experiments.digital import block_code, finite_blocklength, qam
from experiments.digital.ldpc import LdpcCode
from thinwire.errors import InvalidRequestError

pytestmark = pytest.mark.filterwarnings("ignore")


def random_bits(frames: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2, (frames, bits), dtype=np.uint8)


def soft_after(coded: np.ndarray, order: int, snr_db: float, seed: int = 0) -> np.ndarray:
    sent = qam.modulate(coded, order)
    received = sent + complex_noise(sent.shape, noise_variance(snr_db), np.random.default_rng((seed, 7)))
    return qam.soft_bits(received, np.array(noise_variance(snr_db)), order)


@pytest.mark.parametrize(("bits", "distance"), [(1, 32), (2, 16), (6, 16), (7, 12), (11, 12)])
def test_the_block_codes_words_lie_far_apart(bits: int, distance: int) -> None:
    messages = (np.arange(1, 2**bits)[:, None] >> np.arange(bits) & 1).astype(np.uint8)
    assert block_code.encode(messages, 32).sum(axis=1).min() == distance


@pytest.mark.parametrize("coded", [24, 32, 48, 128])
@pytest.mark.parametrize("bits", [1, 4, 11])
def test_the_block_code_comes_back(bits: int, coded: int) -> None:
    sent = random_bits(50, bits)
    soft = 1 - 2.0 * block_code.encode(sent, coded)
    np.testing.assert_array_equal(block_code.decode(soft.astype(np.float32), bits), sent)


def test_the_block_code_errs_as_biorthogonal_words_do() -> None:
    """4 bits choose among 16 words, from each of which 14 are half of the length away and one all of it: more errors
    than towards one of the nearest, fewer than towards all in sum."""
    snr_db, frames = -6.0, 20_000
    sent = random_bits(frames, 4)
    wrong = (block_code.decode(soft_after(block_code.encode(sent, 32), 2, snr_db), 4) != sent).any(axis=1).mean()
    energy = 32 * 10 ** (snr_db / 10) / 2
    half, whole = (1 - NormalDist().cdf((2 * energy * share) ** 0.5) for share in (0.5, 1.0))
    assert half < wrong < 14 * half + whole


def test_too_many_bits_for_the_block_code_are_an_error() -> None:
    with pytest.raises(ValueError, match="1 to 11 bits, got 12"):
        block_code.encode(random_bits(1, 12), 32)


# From the lowest rate, where words repeat, to the highest, over both base graphs.
CODES = [
    (12, 48, 2),
    (15, 384, 2),
    (45, 96, 4),
    (120, 2048, 2),
    (300, 384, 2),
    (1000, 2048, 2),
    (1422, 1536, 8),
    (4000, 6144, 6),
]


@pytest.mark.parametrize(("bits", "coded", "order"), CODES)
def test_ldpc_comes_back_without_noise(bits: int, coded: int, order: int) -> None:
    code, sent = LdpcCode(bits, coded, order), random_bits(8, bits)
    word = code.encode(sent)
    assert word.shape == (8, coded)
    np.testing.assert_array_equal(code.decode(soft_after(word, order, 40.0)), sent)


@pytest.mark.parametrize(("bits", "coded"), [(12, 100), (24, 400), (60, 2048)])
def test_the_whole_circular_buffer_is_sent_before_anything_is_sent_twice(bits: int, coded: int) -> None:
    """Sent bits and unsent ones, put where the standard has them, are a word of the code: all its checks hold."""
    from sionna.phy.fec.ldpc import LDPC5GEncoder

    encoder: Any = LDPC5GEncoder(bits, 5 * bits, device="cpu")
    code, sent = LdpcCode(bits, coded, 2), random_bits(6, bits)
    in_order = code.encode(sent)[:, np.asarray(encoder.generate_out_int(coded, 2)[1])]
    length = encoder.n_cb_comp
    assert coded > length > 5 * bits
    np.testing.assert_array_equal(in_order, np.tile(in_order[:, :length], 9)[:, :coded])
    filler = np.zeros((6, encoder.k_filler), np.uint8)
    systematic = bits - 2 * encoder.z
    word = np.hstack([sent, filler, in_order[:, systematic:length]])
    np.testing.assert_array_equal(in_order[:, :systematic], sent[:, 2 * encoder.z :])
    assert not (encoder.pcm @ word.T.astype(int) % 2).any()


@pytest.mark.parametrize(("bits", "coded", "order"), [(11, 48, 2), (46, 48, 2), (9000, 20000, 2), (20, 47, 2)])
def test_a_code_that_is_none_is_an_error(bits: int, coded: int, order: int) -> None:
    with pytest.raises(InvalidRequestError, match="LDPC takes 12 to 8,448 bits"):
        LdpcCode(bits, coded, order)


def test_rows_of_a_wrong_length_are_an_error() -> None:
    code = LdpcCode(20, 48, 2)
    with pytest.raises(InvalidRequestError, match="takes 20 bits, got 21"):
        code.encode(random_bits(1, 21))
    with pytest.raises(InvalidRequestError, match="have 48 bits, got 47"):
        code.decode(np.zeros((1, 47), np.float32))


@pytest.mark.parametrize(("bits", "coded", "order", "snr_db"), [(40, 96, 4, 6.0), (225, 384, 2, 2.8)])
def test_our_decoder_is_about_as_good_as_sionnas_belief_propagation(
    bits: int, coded: int, order: int, snr_db: float
) -> None:
    from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder

    frames = 400
    code, sent = LdpcCode(bits, coded, order), random_bits(frames, bits)
    word = code.encode(sent)
    encoder: Any = LDPC5GEncoder(bits, coded, num_bits_per_symbol=order, device="cpu")
    np.testing.assert_array_equal(word, encoder(torch.from_numpy(sent.astype(np.float32))).numpy())
    soft = soft_after(word, order, snr_db)
    ours = (code.decode(soft) != sent).any(axis=1).mean()
    decoder: Any = LDPC5GDecoder(encoder, num_iter=25, device="cpu")
    theirs = (decoder(torch.from_numpy(-soft)).numpy() != sent).any(axis=1).mean()
    assert 0.01 < theirs < 0.3
    assert ours < 1.5 * theirs + 0.01


def least_error_rate(uses: int, snr_db: float, bits: float) -> float:
    """The block error rate at which `most_bits` is ``bits``, which falls by its spread for each standard deviation."""
    normal = NormalDist()
    middle = finite_blocklength.most_bits(uses, snr_db, 0.5)
    spread = middle - finite_blocklength.most_bits(uses, snr_db, normal.cdf(-1))
    return normal.cdf(-(middle - bits) / spread)


@pytest.mark.parametrize(("uses", "order", "rate"), [(24, 4, 0.6), (192, 2, 0.5), (192, 4, 0.5)])
def test_block_errors_lie_right_of_the_finite_blocklength_bound(uses: int, order: int, rate: float) -> None:
    """Never left of it, and 10% are reached within 3 dB of it."""
    bits, frames = int(uses * order * rate), 300
    code, sent = LdpcCode(bits, uses * order, order), random_bits(frames, int(uses * order * rate))
    word = code.encode(sent)
    snrs_db = np.arange(-2.0, 14.0, 0.5)
    bound_db = next(snr for snr in snrs_db if least_error_rate(uses, snr, bits) < 0.1)
    rates = []
    for snr_db in np.arange(bound_db - 1, bound_db + 3.5, 0.5):
        rates.append(float((code.decode(soft_after(word, order, snr_db)) != sent).any(axis=1).mean()))
        error = 3.3 * (rates[-1] / frames) ** 0.5 + 0.01
        assert rates[-1] > least_error_rate(uses, snr_db, bits) - error
        if rates[-1] < 0.1:
            assert snr_db - bound_db >= 0.0
            break
    else:
        pytest.fail(f"still {rates[-1]:.0%} of the frames are lost")
    assert all(later <= before + 0.05 for before, later in pairwise(rates))
