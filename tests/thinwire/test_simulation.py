"""A channel by its name gives what the proxy gives."""

import numpy as np
import pytest

from channel.models.rician import Rician
from channel.profiles import Profile
from channel.realisation import keyed_generator
from channel.transmission import transmit
from thinwire.csi import Csi
from thinwire.equalise import receive
from thinwire.errors import InvalidFrameError, InvalidRequestError
from thinwire.frames import check_frame, pack_symbols, read_reception
from thinwire.simulation import LINK, REQUEST, simulate
from thinwire.v1 import link_pb2


def unit(shape, seed=0):
    parts = np.random.default_rng(seed).standard_normal((*shape, 2)).astype(np.float32)
    symbols = (parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)
    return symbols / np.sqrt((abs(symbols) ** 2).mean())


@pytest.mark.parametrize("model", ["awgn", "rayleigh", "rician:k_db=3,coherence=4", "gilbert_elliott"])
@pytest.mark.parametrize("csi", ["perfect", "none", "pilots:count=2,every=8"])
def test_it_is_what_the_proxy_does(model, csi):
    symbols = unit((5, 3))
    frame = link_pb2.Frame(link_id=LINK, request_id=REQUEST, sequence_number=2, tokens=5, symbols_per_token=3)
    frame.symbols = pack_symbols(symbols)
    sent = transmit(frame, Profile(model=model, snr_db=5.0, seed=9, csi=Csi.parse(csi)))
    gain, noise_variance = read_reception(sent.frame)
    expected = receive(check_frame(sent.frame), gain, noise_variance)
    received = simulate(symbols, model, snr_db=5.0, csi=csi, seed=9, frame=2)
    np.testing.assert_array_equal(received.arrival.symbols, check_frame(sent.frame))
    np.testing.assert_allclose(received.equalised.symbols, expected.symbols, rtol=1e-6)
    assert received.equalised.noise_variance == pytest.approx(expected.noise_variance, rel=1e-6)
    assert received.channel_uses == sent.report.channel_uses


def test_the_same_key_meets_the_same_channel_and_another_does_not():
    symbols = unit((4, 4))
    one, again, other = (simulate(symbols, "rayleigh", seed=1, frame=frame).arrival for frame in (0, 0, 1))
    np.testing.assert_array_equal(one.symbols, again.symbols)
    assert abs(one.gain - other.gain) > 1e-3


def test_the_snr_is_the_average_one():
    symbols = unit((200, 50))
    noise = simulate(symbols, "awgn", snr_db=7.0).arrival.symbols - symbols
    assert 10 * np.log10(1 / (abs(noise) ** 2).mean()) == pytest.approx(7.0, abs=0.15)


def test_one_token_may_be_a_row():
    assert simulate([1, -1, 1j]).equalised.symbols.shape == (1, 3)


@pytest.mark.parametrize(
    ("symbols", "told"),
    [
        (np.zeros((0, 3)), "expected N x S symbols"),
        (np.ones((1, 2, 3)), "expected N x S symbols"),
        (np.full((1, 2), np.nan), "not all finite"),
        (np.full((1, 2), 1.5), "mean power per symbol is 2.25"),
    ],
)
def test_what_cannot_be_sent_is_told(symbols, told):
    with pytest.raises(InvalidFrameError, match=told):
        simulate(symbols)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"model": "tin can"}, "channel model must be one of"),
        ({"snr_db": 99.0}, "snr_db must be from"),
        ({"csi": "all"}, "csi must be perfect"),
        ({"seed": -1}, "seed must be from 0"),
        ({"frame": -1}, "frame must be from 0"),
        ({"frame": 2**64}, "frame must be from 0"),
    ],
)
def test_what_there_is_not_is_told(options, told):
    with pytest.raises(InvalidRequestError, match=told):
        simulate([1.0], **options)


def test_the_gains_are_the_models_own():
    drawn = Rician(k_db=3, coherence=2).draw((4, 2), 10.0, keyed_generator(7, LINK, REQUEST, 0))
    arrival = simulate(unit((4, 2)), "rician:k_db=3,coherence=2", snr_db=10.0, seed=7).arrival
    np.testing.assert_array_equal(arrival.gain, drawn.gain)


def test_numpys_numbers_are_numbers():
    one, other = simulate([1.0], seed=np.int64(7), frame=np.int32(2)), simulate([1.0], seed=7, frame=2)
    np.testing.assert_array_equal(one.arrival.symbols, other.arrival.symbols)
