"""A profile holds only what a channel can be."""

import math
from dataclasses import replace
from typing import Any

import pytest

from channel.profiles import Profile
from thinwire.csi import PERFECT, Csi
from thinwire.errors import InvalidRequestError
from thinwire.v1 import control_pb2, link_pb2


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "none"),
        ("model", ""),
        ("snr_db", math.nan),
        ("snr_db", math.inf),
        ("snr_db", -30.01),
        ("snr_db", 60.01),
        ("seed", -1),
        ("seed", 2**64),
        ("symbol_rate_hz", 0.0),
        ("symbol_rate_hz", -1.0),
        ("symbol_rate_hz", math.nan),
        ("symbol_rate_hz", math.inf),
        ("frame_loss", -0.1),
        ("frame_loss", 1.0),
        ("frame_loss", math.nan),
        ("model", "rician:k=1"),
    ],
)
def test_what_is_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidRequestError, match=field.split("_")[0]):
        Profile(**{field: value})


@pytest.mark.parametrize("snr_db", [-30.0, 60.0])
def test_the_limits_are_inside(snr_db: float) -> None:
    assert Profile(snr_db=snr_db, seed=2**64 - 1).snr_db == snr_db


def test_a_profile_survives_its_message() -> None:
    profile = Profile("rician:k_db=3", -2.5, Csi.parse("pilots:count=4"), 2**64 - 1, 4800.0, True, 0.125)
    assert Profile.from_proto(profile.to_proto()) == profile


def test_model_and_csi_are_told_in_one_spelling() -> None:
    told = control_pb2.Profile(model="rician:coherence=4,k_db=6.0", symbol_rate_hz=1.0, csi="pilots:every=0,count=2")
    kept = Profile.from_proto(told).to_proto()
    assert (kept.model, kept.csi) == ("rician:coherence=4", "pilots:count=2")


def test_a_message_with_a_csi_that_there_is_not_is_refused() -> None:
    message = Profile().to_proto()
    message.csi = "pilots:count=0"
    with pytest.raises(InvalidRequestError, match="csi"):
        Profile.from_proto(message)


def test_a_message_without_csi_means_perfect() -> None:
    message = Profile().to_proto()
    message.csi = ""
    assert Profile.from_proto(message).csi == PERFECT


def test_a_frame_that_asks_for_nothing_gets_the_profile() -> None:
    profile = Profile("rayleigh", 3.0, seed=5, symbol_rate_hz=100.0, inject_airtime=True)
    assert profile.asked(link_pb2.ChannelRequest()) == profile


def test_a_frame_gets_what_it_asks_for() -> None:
    profile = Profile("rayleigh", 3.0, seed=5, symbol_rate_hz=100.0, inject_airtime=True)
    asked = profile.asked(link_pb2.ChannelRequest(model="awgn", snr_db=0.0, seed=0))
    assert asked == replace(profile, model="awgn", snr_db=0.0, seed=0)
    assert profile.asked(link_pb2.ChannelRequest(csi="none")) == replace(profile, csi=Csi("none"))
    assert profile.asked(link_pb2.ChannelRequest(seed=9)) == replace(profile, seed=9)


@pytest.mark.parametrize("request_", [{"model": "none"}, {"snr_db": math.nan}, {"snr_db": 1e9}, {"csi": "x"}])
def test_a_frame_cannot_ask_for_what_cannot_be(request_: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Profile().asked(link_pb2.ChannelRequest(**request_))


def test_airtime_is_uses_over_symbol_rate() -> None:
    assert Profile(symbol_rate_hz=2000.0).airtime_s(500) == 0.25
