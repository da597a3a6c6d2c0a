"""Schemes, and the checks of their frames against Sionna's."""

from typing import Any

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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("length", "name"), [(6, "CRC6"), (11, "CRC11"), (16, "CRC16"), (24, "CRC24A")])
def test_the_crc_is_sionnas(length: int, name: str) -> None:
    import torch
    from sionna.phy.fec.crc import CRCEncoder

    payload = np.random.default_rng(0).integers(0, 2, (20, 57), dtype=np.uint8)
    encoder: Any = CRCEncoder(name, device="cpu")
    theirs = encoder(torch.from_numpy(payload.astype(np.float32))).numpy()
    np.testing.assert_array_equal(crc.append(payload, length), theirs)


@pytest.mark.parametrize("length", crc.POLYNOMIALS)
def test_it_sees_every_short_burst(length: int) -> None:
    frame = crc.append(np.random.default_rng(1).integers(0, 2, (1, 40), dtype=np.uint8), length)
    assert crc.intact(frame, length).all()
    for start in range(40):
        broken = frame.copy()
        broken[:, start : start + 5] ^= np.array([1, 0, 1, 1, 1], dtype=np.uint8)[: frame.shape[1] - start]
        assert not crc.intact(broken, length).any()
