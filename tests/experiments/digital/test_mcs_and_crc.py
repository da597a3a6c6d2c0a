"""Schemes, and the checks of their frames against long division."""

import numpy as np
import pytest

from experiments.digital import crc
from experiments.digital.mcs import Scheme, schemes
from thinwire.errors import InvalidRequestError


@pytest.mark.parametrize("uses", [24, 64, 192, 1024])
def test_a_frame_takes_all_of_the_table_that_it_can(uses: int) -> None:
    found = schemes(uses)
    payloads = [scheme.payload for scheme in found]
    assert payloads == sorted(set(payloads))
    assert found[-1].bits == int(uses * 8 * 948 / 1024)
    for scheme in found:
        assert scheme.coded == uses * scheme.order
        assert 3 <= scheme.payload <= scheme.bits <= scheme.coded * 948 / 1024


@pytest.mark.parametrize(
    ("bits", "payload"),
    [(3, 3), (11, 11), (12, 6), (25, 19), (26, 20 - 5), (31, 20), (1717, 1706), (1718, 1702), (3841, 3817)],
)
def test_what_the_crc_leaves(bits: int, payload: int) -> None:
    """6 bits for a payload of up to 19, 11 up to 1,706, 16 up to 3,824, 24 beyond."""
    assert Scheme(1024, 8, bits).payload == payload


@pytest.mark.parametrize(("uses", "order", "bits"), [(24, 3, 20), (24, 2, 2), (24, 2, 45), (8, 2, 4)])
def test_an_impossible_scheme_is_an_error(uses: int, order: int, bits: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"bits, got"):
        Scheme(uses, order, bits)


# Exponents of the generator polynomials (TS 38.212, 5.1).
POLYNOMIALS = {
    6: (6, 5, 0),
    11: (11, 10, 9, 5, 0),
    16: (16, 12, 5, 0),
    24: (24, 23, 18, 17, 14, 11, 10, 7, 6, 5, 4, 3, 1, 0),
}


@pytest.mark.parametrize("length", POLYNOMIALS)
def test_a_frame_is_a_multiple_of_its_polynomial(length: int) -> None:
    payload = np.random.default_rng(0).integers(0, 2, (20, 57), dtype=np.uint8)
    frames = crc.append(payload, length)
    assert frames.dtype == np.uint8
    np.testing.assert_array_equal(frames[:, :-length], payload)
    divisor = sum(1 << exponent for exponent in POLYNOMIALS[length])
    for row in frames:
        rest = int("".join(map(str, row)), 2)
        while rest.bit_length() > length:
            rest ^= divisor << (rest.bit_length() - length - 1)
        assert rest == 0


@pytest.mark.parametrize("length", POLYNOMIALS)
def test_it_sees_every_short_burst(length: int) -> None:
    frame = crc.append(np.random.default_rng(1).integers(0, 2, (1, 40), dtype=np.uint8), length)
    assert crc.intact(frame, length).all()
    for start in range(40):
        broken = frame.copy()
        broken[:, start : start + 5] ^= np.array([1, 0, 1, 1, 1], dtype=np.uint8)[: frame.shape[1] - start]
        assert not crc.intact(broken, length).any()
