"""One frame through the channel, without a network."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from channel.models import registry
from channel.profiles import Profile
from channel.realisation import Realisation, Symbols, apply, keyed_generator
from channel.transmission import carry, transmit
from tests.channel.conftest import MakeFrame
from tests.channel.models.theory import assert_mean, at_three_snrs, qpsk, with_two_seeds
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import InvalidFrameError, InvalidRequestError, OverBudgetError, ThinwireError
from thinwire.frames import check_frame, read_reception
from thinwire.v1 import link_pb2


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
def test_the_receiver_gets_the_keyed_realisation_and_its_description(make_frame: MakeFrame, model: str) -> None:
    frame = make_frame(reception=link_pb2.Reception(model="a lie", snr_db=99.0, gain_real=5.0, gain_imag=5.0))
    symbols = check_frame(frame)
    received = transmit(frame, Profile(model, 5.0, seed=42)).frame
    generator = keyed_generator(42, frame.link_id, frame.request_id, frame.sequence_number)
    realisation = registry.get(model).draw((4, 8), 5.0, generator)
    assert np.array_equal(check_frame(received), apply(symbols, realisation))
    assert complex(received.reception.gain_real, received.reception.gain_imag) == realisation.gain
    assert received.reception.noise_variance == pytest.approx(10**-0.5)
    assert (received.reception.model, received.reception.snr_db) == (model, 5.0)


def test_only_symbols_channel_and_reception_differ(make_frame: MakeFrame) -> None:
    frame = make_frame(
        question="what colour?",
        bundle_digest="b",
        policy_id="p",
        policy_digest="d",
        side_information=b"\xff\x01",
        side_information_bits=9,
        channel=link_pb2.ChannelRequest(model="rayleigh", snr_db=1.0, seed=2),
        reception=link_pb2.Reception(model="a lie", snr_db=99.0, gain_real=5.0),
        top_k=3,
        want_logits=True,
        want_received=True,
    )
    received = transmit(link_pb2.Frame.FromString(frame.SerializeToString()), Profile()).frame
    assert not received.HasField("channel")
    assert received.reception.model == "rayleigh"
    assert received.symbols != frame.symbols
    for message in (frame, received):
        for name in ("symbols", "channel", "reception"):
            message.ClearField(name)
    assert received == frame


def test_uses_are_counted_from_the_bytes(make_frame: MakeFrame) -> None:
    frame = make_frame(5, 3, side_information=b"\xff\x01", side_information_bits=9)
    transmission = transmit(frame, Profile("awgn", 4.0, symbol_rate_hz=1000.0))
    assert transmission.airtime_s == pytest.approx(0.024)
    assert transmission.report == link_pb2.ChannelReport(
        model="awgn",
        snr_db=4.0,
        channel_uses=24,
        payload_uses=15,
        pilot_uses=0,
        side_information_uses=9,
        airtime_ms=24.0,
        symbol_rate_hz=1000.0,
        csi="perfect",
    )


def test_pilots_are_counted_and_held_back(make_frame: MakeFrame) -> None:
    frame = make_frame(5, 3)
    profile = Profile("rayleigh", 4.0, Csi.parse("pilots:count=2,every=4"), symbol_rate_hz=1000.0)
    transmission = transmit(frame, profile)
    report = transmission.report
    assert (report.channel_uses, report.payload_uses, report.pilot_uses, report.csi) == (
        23, 15, 8, "pilots:count=2,every=4",
    )  # fmt: skip
    assert report.airtime_ms == pytest.approx(23.0)
    reception = transmission.frame.reception
    assert (reception.pilot_uses, len(reception.gains), reception.noise_variances) == (8, 15 * 8, b"")
    assert reception.noise_variance == pytest.approx(10**-0.4 * 1.5)
    assert check_frame(transmission.frame).shape == (5, 3)


@pytest.mark.parametrize("model", ["rayleigh:coherence=1", "gilbert_elliott", "erasure", "ofdm"])
def test_the_receiver_is_told_what_differs_by_symbol(make_frame: MakeFrame, model: str) -> None:
    frame = make_frame()
    sent = check_frame(frame).copy()
    received = transmit(frame, Profile(model, 5.0, seed=42)).frame
    generator = keyed_generator(42, frame.link_id, frame.request_id, frame.sequence_number)
    realisation = registry.get(model).draw((4, 8), 5.0, generator)
    assert np.array_equal(check_frame(received), apply(sent, realisation))
    gain, variance = read_reception(received)
    assert np.array_equal(gain, realisation.gain)
    assert np.array_equal(variance, realisation.noise_variance)


def test_too_many_pilots_are_the_requests_fault(make_frame: MakeFrame) -> None:
    with pytest.raises(InvalidRequestError, match="pilots beside"):
        transmit(make_frame(4096, 256), Profile(csi=Csi.parse("pilots:count=64,every=1")))


def test_power_is_checked_before_the_noise(make_frame: MakeFrame) -> None:
    # At -30 dB what is received has a thousand times the power that a sender may use.
    loud = check_frame(transmit(make_frame(), Profile(snr_db=-30.0)).frame)
    assert np.mean(np.abs(loud) ** 2) > 100
    frame = make_frame()
    frame.symbols = (check_frame(frame) * np.float32(1.01)).tobytes()
    with pytest.raises(InvalidFrameError, match="power"):
        transmit(frame, Profile())


class Broken:
    """A model with a fault."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def draw(self, shape: tuple[int, ...], snr_db: float, generator: np.random.Generator) -> Realisation[Any]:
        noise: Symbols = np.zeros(shape, np.complex64)
        match self.fault:
            case "nan noise":
                return Realisation(1 + 0j, noise * np.float32(np.nan), 1.0)
            case "infinite gain":
                return Realisation(complex(np.inf), noise + 1, 1.0)
            case "nan variance":
                return Realisation(1 + 0j, noise, float("nan"))
            case "other shape":
                return Realisation(1 + 0j, np.zeros((2, *shape), np.complex64), 1.0)
            case "too few gains":
                return Realisation(noise[0], noise, 1.0)
            case "too many variances":
                return Realisation(1 + 0j, noise, np.ones((2, *shape), np.float32))
        raise ZeroDivisionError("a fault of its own")


@pytest.mark.parametrize(
    "fault",
    ["nan noise", "infinite gain", "nan variance", "other shape", "too few gains", "too many variances", "exception"],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_model_at_fault_is_an_internal_error(
    make_frame: MakeFrame, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setitem(registry._MODELS, "broken", lambda: Broken(fault))
    with pytest.raises(ThinwireError, match="'broken'") as caught:
        transmit(make_frame(), Profile("broken"))
    assert caught.value.code == "internal"


@pytest.mark.parametrize(("most", "fits"), [(0, True), (41, True), (40, True), (39, False)])
def test_no_frame_is_sent_that_costs_more_than_it_may(make_frame: MakeFrame, most: int, fits: bool) -> None:
    # 4 x 8 symbols, and two pilots ahead of every eight.
    profile = Profile("awgn", csi=Csi.parse("pilots:count=2,every=8"))
    frame = make_frame(max_channel_uses=most)
    if fits:
        sent = transmit(frame, profile)
        assert sent.report.channel_uses == 40
        assert sent.frame.max_channel_uses == 0
    else:
        with pytest.raises(
            OverBudgetError, match=r"costs 40 channel uses, of them 8 of pilots .* may cost 39"
        ) as raised:
            transmit(frame, profile)
        assert raised.value.csi == "pilots:count=2,every=8"


def sent(tokens: int = 6, symbols_per_token: int = 8):
    return qpsk((tokens, symbols_per_token), np.random.default_rng(0))[1]


@pytest.mark.parametrize("model", ["rayleigh", "rayleigh:coherence=1", "gilbert_elliott", "clipping:level_db=-3"])
def test_perfect_csi_is_the_realisations_own(model: str) -> None:
    arrival = carry(sent(), Channel(model, 5.0), np.random.default_rng(3))
    drawn = registry.get(model).draw((6, 8), 5.0, np.random.default_rng(3))
    assert np.array_equal(arrival.symbols, apply(sent(), drawn))
    assert np.array_equal(arrival.gain, drawn.gain)
    assert np.array_equal(arrival.noise_variance, drawn.noise_variance)
    assert arrival.pilot_uses == 0


def test_without_csi_the_same_arrives_and_the_gain_is_taken_for_one() -> None:
    channel = Channel("gilbert_elliott", 5.0)
    arrival = carry(sent(), replace(channel, csi=Csi.parse("none")), np.random.default_rng(3))
    assert np.array_equal(arrival.symbols, carry(sent(), channel, np.random.default_rng(3)).symbols)
    assert (arrival.gain, arrival.pilot_uses) == (1, 0)
    assert arrival.noise_variance == pytest.approx(10**-0.5)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("pilots", [1, 4])
def test_the_error_of_least_squares_has_the_variance_n0_over_p(snr_db: float, seed: int, pilots: int) -> None:
    generator, channel = np.random.default_rng(seed), Channel("awgn", snr_db, Csi.parse(f"pilots:count={pilots}"))
    arrivals = [carry(sent(1, 1), channel, generator) for _ in range(3000)]
    errors = np.array([arrival.gain for arrival in arrivals]) - 1
    noise = 10 ** (-snr_db / 10)
    assert_mean(np.abs(errors) ** 2, noise / pilots)
    assert_mean(errors.real, 0.0)
    assert arrivals[0].noise_variance == pytest.approx(noise * (1 + 1 / pilots))


@pytest.mark.parametrize(
    ("csi", "coherence", "pilots"), [("pilots:count=2,every=5", 7, 20), ("pilots:every=1", 2, 48), ("pilots", 49, 1)]
)
def test_pilots_stand_ahead_of_each_block_and_take_their_time(csi: str, coherence: int, pilots: int) -> None:
    # Blocks as long as the fade's, pilots included: at 60 dB the estimates are the gains themselves.
    channel = Channel(f"rayleigh:coherence={coherence}", 60.0, Csi.parse(csi))
    arrival = carry(sent(), channel, np.random.default_rng(1))
    assert arrival.pilot_uses == pilots
    np.testing.assert_allclose(arrival.symbols / arrival.gain, sent(), atol=0.05)
    assert np.unique(arrival.gain).size == math.ceil((48 + pilots) / coherence)


@pytest.mark.parametrize("csi", ["pilots:count=3,every=48", "pilots:count=3,every=1000", "pilots:count=3"])
def test_a_block_may_be_longer_than_the_frame(csi: str) -> None:
    arrival = carry(sent(), Channel("rayleigh", 60.0, Csi.parse(csi)), np.random.default_rng(1))
    assert isinstance(arrival.gain, complex)
    assert arrival.pilot_uses == 3
    np.testing.assert_allclose(arrival.symbols / arrival.gain, sent(), atol=0.05)


def test_phase_noise_and_the_amplifier_meet_pilots_too() -> None:
    clipping = carry(sent(), Channel("clipping:level_db=-6", 60.0, Csi.parse("pilots")), np.random.default_rng(1))
    assert abs(clipping.gain) == pytest.approx(10 ** (-6 / 20), abs=0.01)
    noisy = carry(sent(), Channel("phase_noise:rms_deg=90", 60.0, Csi.parse("pilots")), np.random.default_rng(1))
    assert abs(np.angle(noisy.gain)) > 0.05


def test_more_pilots_than_memory_are_refused() -> None:
    symbols = np.ones((4096, 256), np.complex64)
    with pytest.raises(InvalidRequestError, match="67108864 pilots beside 1048576 symbols"):
        carry(symbols, Channel("awgn", 0.0, Csi.parse("pilots:count=64,every=1")), np.random.default_rng(0))
