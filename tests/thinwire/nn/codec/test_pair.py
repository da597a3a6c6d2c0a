"""The pair as one object gives what the engines give."""

import numpy as np
import pytest
import torch

from thinwire import simulate
from thinwire.bundle import load_bundle
from thinwire.errors import BundleError, InvalidRequestError
from thinwire.nn.codec.pair import Codec


@pytest.fixture(name="codec", scope="module")
def codec_fixture():
    return Codec.load("cifar10")


def tokens(count=5, width=128):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0))


def test_a_bundle_may_come_in_three_ways(codec):
    bundle = load_bundle("cifar10")
    frames = [Codec.load(way).encode(tokens(), symbols_per_token=2) for way in (bundle, bundle.folder)]
    for frame in frames:
        np.testing.assert_array_equal(frame, codec.encode(tokens(), symbols_per_token=2))
    with pytest.raises(BundleError, match="no readable bundle nothing"):
        Codec.load("nothing")


def test_a_frame_has_unit_power_and_the_rate_of_its_policy(codec):
    frame = codec.encode(tokens(7), torch.arange(1, 8), symbols_per_token=3, snr_db=5)
    assert (frame.shape, frame.dtype) == ((7, 3), np.complex64)
    assert (abs(frame) ** 2).mean() == pytest.approx(1, rel=1e-5)


def test_sizes_travel_in_the_amplitude(codec):
    plain, large = (codec.encode(tokens(2), torch.tensor(sizes), symbols_per_token=4) for sizes in ([1, 1], [1, 30]))
    assert (abs(large[1]) ** 2).sum() > (abs(plain[1]) ** 2).sum()
    _, shares = codec.decode(simulate(large, snr_db=20).equalised)
    assert shares[1] > shares[0]


def test_what_is_decoded_comes_nearer_as_the_channel_clears(codec):
    sent = tokens(9) * codec.decoder.std + codec.decoder.mean
    errors = []
    for snr_db in (-5, 20):
        frame = codec.encode(sent, symbols_per_token=16, snr_db=snr_db)
        decoded, _ = codec.decode(simulate(frame, snr_db=snr_db, seed=3).equalised)
        errors.append(float((decoded - sent).square().mean()))
    assert errors[1] < errors[0]


@pytest.mark.parametrize(
    ("given", "options", "told"),
    [
        (tokens(), {"symbols_per_token": 17}, "symbols_per_token must be from 1 to 16, got 17"),
        (tokens(), {"symbols_per_token": 0}, "symbols_per_token must be from 1 to 16, got 0"),
        (tokens(width=64), {"symbols_per_token": 1}, r"expected N x 128 tokens, got \(5, 64\)"),
        (tokens(0), {"symbols_per_token": 1}, r"expected N x 128 tokens, got \(0, 128\)"),
        (tokens(), {"symbols_per_token": 1, "sizes": [1, 1, 0, 1, 1]}, "sizes of at least 1"),
        (tokens() * torch.nan, {"symbols_per_token": 1}, "expected finite tokens"),
        (tokens(), {"symbols_per_token": 1, "snr_db": np.nan}, "a finite snr_db"),
        (tokens(), {"symbols_per_token": 1, "sizes": torch.ones(4)}, r"expected 5 sizes, got \(4,\)"),
    ],
)
def test_what_does_not_fit_is_told(codec, given, options, told):
    with pytest.raises(InvalidRequestError, match=told):
        codec.encode(given, **options)


def test_a_frame_of_too_high_a_rate_is_told(codec):
    with pytest.raises(InvalidRequestError, match="at most 16 symbols per token, got 17"):
        codec.decode(simulate(np.ones((2, 17))).equalised)


def test_arrays_and_other_floats_do_as_well(codec):
    expected = codec.encode(tokens(), torch.arange(1, 6), symbols_per_token=2)
    for given in (tokens().numpy(), tokens().double(), tokens().tolist()):
        np.testing.assert_allclose(codec.encode(given, [1, 2, 3, 4, 5], symbols_per_token=2), expected, rtol=1e-6)
