"""The choice of a scheme, and the accounts of what arrives."""

import numpy as np
import pytest

from experiments.digital.adaptation import choose, measure
from experiments.digital.mcs import Scheme, schemes
from experiments.digital.source import LabelSource
from tests.experiments.digital.parts import random_images
from thinwire.channels import Channel

AWGN = Channel("awgn", 10.0)


class Sharp:
    """A source that is right half of the time with 20 bits, and always with 60."""

    name = "sharp"

    def score(self, payload: int) -> float:
        return 0.1 + 0.4 * (payload >= 20) + 0.5 * (payload >= 60)


@pytest.mark.parametrize(
    ("lost_from", "lost", "least"),
    [(10**9, 0.0, 60), (60, 0.4, 60), (60, 0.7, 20), (20, 1.0, 0)],
    ids=["no loss", "a loss worth taking", "a loss too many", "only the lowest arrive"],
)
def test_it_weighs_what_is_lost_against_what_is_won(lost_from: int, lost: float, least: int) -> None:
    asked = []

    def error_rate(scheme: Scheme, channel: Channel) -> float:
        asked.append(scheme.payload)
        return lost if scheme.payload >= lost_from else 0.0

    options = schemes(64)
    best = choose(Sharp(), options, AWGN, error_rate, 0.1)  # type: ignore[arg-type]
    steps = [next(one.payload for one in options if one.payload >= bits) for bits in (0, 20, 60)]
    assert best.payload == steps[(0, 20, 60).index(least)]
    # Only where the source gains something, the channel is asked.
    assert set(asked) <= set(steps)


@pytest.mark.filterwarnings("ignore")
def test_what_is_lost_is_guessed_and_what_is_broken_is_wrong() -> None:
    images = random_images(100)
    source = LabelSource(images, images)
    good = measure(source, Scheme(24, 2, 3), Channel("awgn", 20.0), images, 0, 0)
    assert (good["lost"], good["fit"]) == (0.0, 1.0)
    assert np.mean(good["right"]) == pytest.approx(source.score(3))
    bad = measure(source, Scheme(24, 2, 3), Channel("awgn", -15.0), images, 0, 0)
    assert 0.3 < bad["lost"] < 1
    assert np.mean(bad["right"]) < np.mean(good["right"])
    # The LDPC code has a CRC, so that what is lost becomes a guess.
    padded = measure(source, Scheme(24, 2, 30), Channel("awgn", -15.0), images, 4, 0)
    assert padded["lost"] == 1.0
    # One frame of 2^11 passes the CRC all the same.
    assert np.mean(padded["right"]) == pytest.approx((images.labels == 4).mean(), abs=0.02)
