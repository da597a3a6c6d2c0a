"""A channel, as all rooms speak of it."""

import math

import pytest

from thinwire.channels import NOMINAL, Channel
from thinwire.csi import Csi
from thinwire.errors import InvalidRequestError


def test_a_channel_has_a_name_for_people() -> None:
    assert [Channel("awgn", snr_db).name for snr_db in (10, -2.5)] == ["awgn at 10 dB", "awgn at -2.5 dB"]
    assert Channel("rayleigh", 0.0, Csi.parse("pilots:count=2")).name == "rayleigh at 0 dB, pilots:count=2"


@pytest.mark.parametrize(
    ("model", "family"),
    [("rician:k_db=3,coherence=16", "rician"), ("rician", "rician"), ("rician:", "rician"), ("", "")],
)
def test_its_family_is_the_model_without_parameters(model: str, family: str) -> None:
    assert Channel(model).family == family


@pytest.mark.parametrize("snr_db", [math.nan, math.inf, -math.inf])
def test_an_snr_that_is_none_is_refused(snr_db: float) -> None:
    with pytest.raises(InvalidRequestError, match="snr_db must be a finite number, got"):
        Channel("awgn", snr_db)


def test_what_is_known_of_it_tells_channels_apart() -> None:
    same, other = Channel("awgn", 10.0, Csi.parse("perfect")), Channel("awgn", 10.0, Csi.parse("none"))
    assert {NOMINAL, same, other} == {NOMINAL, other}
    assert len({NOMINAL, other}) == 2
