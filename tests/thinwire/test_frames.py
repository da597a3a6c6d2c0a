"""The layout of symbols on the wire, their cost, and the refusal of every frame that is not in order."""

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.errors import InvalidFrameError
from thinwire.frames import (
    MAX_SYMBOLS_PER_TOKEN,
    MAX_TOKENS,
    ChannelUses,
    check_frame,
    check_power,
    count_uses,
    describe,
    frame_key,
    pack_symbols,
    read_reception,
)
from thinwire.v1 import link_pb2


def make_frame(shape=(3, 2), **fields):
    tokens, symbols_per_token = shape
    symbols = np.arange(tokens * symbols_per_token).reshape(tokens, symbols_per_token) * np.complex64(0.1 - 0.2j)
    values = {
        "link_id": "edge-1",
        "request_id": "0123456789abcdef" * 2,
        "sequence_number": 4,
        "tokens": tokens,
        "symbols_per_token": symbols_per_token,
        "symbols": pack_symbols(symbols),
    }
    return link_pb2.Frame(**values | fields)


def test_symbols_are_little_endian_pairs_token_by_token():
    symbols = np.asarray([[1 + 2j, 3 - 4j], [-5 + 6j, 0.5j]], dtype=np.complex64)
    assert pack_symbols(symbols) == struct.pack("<8f", 1, 2, 3, -4, -5, 6, 0, 0.5)


@pytest.mark.parametrize("dtype", [">c8", "<c8", np.complex128])
@pytest.mark.parametrize("order", ["C", "F"])
def test_any_memory_layout_packs_alike(dtype, order):
    symbols = np.asarray([[1 + 2j, 3 - 4j, 7], [-5 + 6j, 0.5j, 8]])
    expected = struct.pack("<12f", 1, 2, 3, -4, 7, 0, -5, 6, 0, 0.5, 8, 0)
    assert pack_symbols(np.asarray(symbols, dtype=dtype, order=order)) == expected
    assert pack_symbols(np.asarray(symbols.T, dtype=dtype, order=order).T) == expected


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_round_trip(tokens, symbols_per_token, seed):
    values = np.random.default_rng(seed).normal(size=(tokens, symbols_per_token, 2)).astype(np.float32)
    symbols = values.view(np.complex64)[..., 0]
    frame = make_frame((tokens, symbols_per_token), symbols=pack_symbols(symbols))
    received = check_frame(frame)
    assert received.shape == (tokens, symbols_per_token)
    assert received.dtype == np.complex64
    np.testing.assert_array_equal(received, symbols)


@pytest.mark.parametrize(
    "fields",
    [
        {"link_id": "a"},
        {"link_id": "A.z_9:-" + "x" * 57},
        {"side_information": b"", "side_information_bits": 0},
        {"side_information": b"\0", "side_information_bits": 1},
        {"side_information": b"\0", "side_information_bits": 8},
        {"side_information": b"\0\0", "side_information_bits": 9},
    ],
)
def test_frames_in_order(fields):
    assert check_frame(make_frame(**fields)).shape == (3, 2)


@pytest.mark.parametrize(("tokens", "symbols_per_token"), [(1, 1), (MAX_TOKENS, 1), (1, MAX_SYMBOLS_PER_TOKEN)])
def test_the_largest_and_smallest_shapes(tokens, symbols_per_token):
    assert check_frame(make_frame((tokens, symbols_per_token))).shape == (tokens, symbols_per_token)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"link_id": ""}, "link_id"),
        ({"link_id": "a" * 65}, "link_id"),
        ({"link_id": "a b"}, "link_id"),
        ({"link_id": "a/b"}, "link_id"),
        ({"link_id": "edge\n"}, "link_id"),
        ({"link_id": "é"}, "link_id"),
        ({"request_id": ""}, "request_id"),
        ({"request_id": "0" * 31}, "request_id"),
        ({"request_id": "0" * 33}, "request_id"),
        ({"request_id": "0" * 32 + "\n"}, "request_id"),
        ({"request_id": "A" * 32}, "request_id"),
        ({"request_id": "٣" * 32}, "request_id"),
        ({"tokens": 0}, "tokens must be"),
        ({"tokens": MAX_TOKENS + 1}, "tokens must be"),
        ({"tokens": 2**32 - 1}, "tokens must be"),
        ({"symbols_per_token": 0}, "symbols_per_token must be"),
        ({"symbols_per_token": MAX_SYMBOLS_PER_TOKEN + 1}, "symbols_per_token must be"),
        ({"tokens": 2}, "expected 32 bytes"),
        ({"symbols_per_token": 3}, "expected 72 bytes"),
        ({"symbols": b""}, "expected 48 bytes"),
        ({"symbols": b"\0" * 47}, "got 47"),
        ({"symbols": b"\0" * 49}, "got 49"),
        ({"side_information": b"\0"}, "side information"),
        ({"side_information_bits": 1}, "side information"),
        ({"side_information": b"\0", "side_information_bits": 9}, "side information"),
        ({"side_information": b"\0\0", "side_information_bits": 8}, "side information"),
        ({"side_information_bits": 2**32 - 1}, "side information"),
    ],
)
def test_each_wrong_field_is_refused(fields, says):
    with pytest.raises(InvalidFrameError, match=says):
        check_frame(make_frame(**fields))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 5, 11])
def test_symbols_that_are_not_finite_are_refused(value, position):
    values = [0.5] * 12
    values[position] = value
    with pytest.raises(InvalidFrameError, match="not all finite"):
        check_frame(make_frame(symbols=struct.pack("<12f", *values)))


def test_a_refusal_does_not_repeat_a_long_field():
    with pytest.raises(InvalidFrameError) as caught:
        check_frame(make_frame(link_id="x" * 100_000))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0, 1.0009])
def test_power_up_to_one_passes(power):
    check_power(np.full((4, 3), math.sqrt(power) * (0.6 + 0.8j), dtype=np.complex64))


@pytest.mark.parametrize("power", [1.0011, 2.0, 1e30, 1e60])
def test_more_power_is_refused(power):
    with pytest.raises(InvalidFrameError, match="power"):
        check_power(np.full((4, 3), math.sqrt(power) * (0.6 + 0.8j), dtype=np.complex64))


def test_the_limit_is_on_the_mean_and_not_on_one_symbol():
    symbols = np.zeros((2, 2), dtype=np.complex64)
    symbols[0, 0] = 2j
    check_power(symbols)
    symbols[1, 1] = 0.1
    with pytest.raises(InvalidFrameError, match=r"1\.0025"):
        check_power(symbols)


@pytest.mark.parametrize(
    ("arguments", "options", "payload", "pilots", "side"),
    [
        ((13, 8), {}, 104, 0, 0),
        ((13, 8), {"side_information_bits": 78}, 104, 0, 78),
        ((13, 8), {"side_information_bits": 78, "pilots": 5, "control_rate": 2.0}, 104, 5, 39),
        ((1, 1), {"side_information_bits": 7, "control_rate": 2}, 1, 0, 4),
        ((1, 1), {"side_information_bits": 1, "control_rate": 0.5}, 1, 0, 2),
    ],
)
def test_uses_are_payload_pilots_and_whole_uses_of_side_information(arguments, options, payload, pilots, side):
    uses = count_uses(*arguments, **options)
    assert uses == ChannelUses(payload, pilots, side)
    assert uses.total == payload + pilots + side


def test_the_key_names_link_request_and_number():
    frame = make_frame()
    assert frame_key(frame) == ("edge-1", "0123456789abcdef" * 2, 4)
    others = [make_frame(link_id="edge-2"), make_frame(request_id="f" * 32), make_frame(sequence_number=5)]
    assert len({frame_key(frame), *map(frame_key, others)}) == 4


GAINS = np.array([[1, 2j], [0.5, -1]], np.complex64)
VARIANCES = np.array([[0.1, 0.2], [0.0, 3.0]], np.float32)


@pytest.mark.parametrize("gain", [0.5 - 0.25j, np.complex64(2j), GAINS], ids=["number", "numpy's", "array"])
@pytest.mark.parametrize("variance", [0.1, np.float32(0.5), VARIANCES], ids=["number", "numpy's", "array"])
def test_a_reception_survives_its_message(gain, variance):
    frame = link_pb2.Frame(tokens=2, symbols_per_token=2, reception=describe(gain, variance))
    read_gain, read_variance = read_reception(frame)
    assert np.array_equal(read_gain, gain)
    assert np.array_equal(read_variance, variance)


def test_without_a_reception_the_link_is_perfect():
    assert read_reception(link_pb2.Frame(tokens=2, symbols_per_token=2)) == (1, 0)


@pytest.mark.parametrize("name", ["gains", "noise_variances"])
def test_a_reception_of_other_symbols_is_refused(name):
    frame = link_pb2.Frame(tokens=2, symbols_per_token=2, reception=describe(GAINS, VARIANCES))
    setattr(frame.reception, name, getattr(frame.reception, name)[4:])
    with pytest.raises(InvalidFrameError, match=f"bytes of {name.replace('_', ' ')}, got"):
        read_reception(frame)
