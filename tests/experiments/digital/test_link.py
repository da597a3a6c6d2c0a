"""Frames of bits over our channels."""

import numpy as np
import pytest

from experiments.digital.link import frame_error_rate, send
from experiments.digital.mcs import Scheme
from thinwire.channels import Channel
from thinwire.errors import InvalidRequestError

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL, LARGE = Scheme(24, 2, 4), Scheme(64, 4, 80)
NAMES = [f"image/{number}" for number in range(300)]


def payload_of(scheme: Scheme, frames: int = len(NAMES)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 2, (frames, scheme.payload), dtype=np.uint8)


@pytest.mark.parametrize("model", ["awgn", "rayleigh", "rayleigh:coherence=1"])
@pytest.mark.parametrize("scheme", [SMALL, LARGE])
def test_what_is_sent_over_a_good_link_arrives(scheme: Scheme, model: str) -> None:
    sent = payload_of(scheme)
    received = send(sent, scheme, Channel(model, 70.0), NAMES, 0)
    assert received.accepted.all()
    np.testing.assert_array_equal(received.bits, sent)


def test_a_lost_frame_is_seen_by_its_crc() -> None:
    sent = payload_of(LARGE)
    received = send(sent, LARGE, Channel("awgn", 2.5), NAMES, 0)
    broken = (received.bits != sent).any(axis=1)
    assert 0.2 < broken.mean() < 0.99
    # One broken frame of 2^11 passes.
    assert (received.accepted & broken).mean() < 0.02
    assert received.accepted[~broken].mean() > 0.95


def test_the_noise_is_the_images_own() -> None:
    channel, sent = Channel("awgn", 3.0), payload_of(LARGE)
    whole = send(sent, LARGE, channel, NAMES, 0)
    part = send(sent[250:], LARGE, channel, NAMES[250:], 0)
    np.testing.assert_array_equal(part.bits, whole.bits[250:])
    other = send(sent, LARGE, channel, NAMES, 1)
    assert (other.bits != whole.bits).any()


def test_frames_are_lost_as_often_as_a_fade_falls_below_what_the_code_needs() -> None:
    """Outage of one gain a frame: P(|h|^2 < t) = 1 - exp(-t), with the t of half the frames lost over AWGN."""
    at = [frame_error_rate(LARGE, Channel("awgn", snr_db), NAMES, 0) for snr_db in np.arange(0, 6, 1.0)]
    needs_db = float(np.interp(-0.5, -np.array(at), np.arange(0, 6, 1.0)))
    lost = frame_error_rate(LARGE, Channel("rayleigh", 10.0), NAMES, 0)
    outage = 1 - np.exp(-(10 ** ((needs_db - 10) / 10)))
    assert abs(lost - outage) < 3.3 * (outage * (1 - outage) / len(NAMES)) ** 0.5


def test_a_payload_of_another_length_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match=r"rows of 4 bits, got an array of shape \(2, 5\)"):
        send(np.zeros((2, 5), np.uint8), SMALL, Channel("awgn", 10.0), NAMES[:2], 0)
