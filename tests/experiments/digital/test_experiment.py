"""What the experiment says of its points."""

import numpy as np
import pytest

from experiments.digital import experiment as digital
from experiments.digital.comparison import Point
from thinwire.channels import Channel

SNRS_DB = (0.0, 5.0, 10.0)


def points() -> list[Point]:
    """100 images: analog always right on 80; digital on 90 from 5 dB on, and on 10 below."""
    found = []
    for snr_db in SNRS_DB:
        channel = Channel("awgn", snr_db)
        digital_right = np.arange(100) < (90 if snr_db >= 5 else 10)
        found.append(Point("analog, auto", 24, channel, np.arange(100) < 80, 20.0))
        details = {"scheme": "QPSK 0.50", "frames lost, %": 1.0}
        for method in ("tokens, adaptive", "tokens, fixed"):
            found.append(Point(method, 24, channel, digital_right, 24.0, details))
    return found


def test_a_difference_has_its_paired_error() -> None:
    analog, adaptive, _ = points()[3:6]
    change = digital.difference(adaptive, analog)
    assert change.value == pytest.approx(10)
    assert change.se == pytest.approx(100 * (0.1 * 0.9 / 100) ** 0.5)


def test_a_part_of_the_images_is_compared_with_the_same_of_the_others() -> None:
    channel = Channel("awgn", 0.0)
    whole = Point("analog, auto", 24, channel, np.arange(100) % 4 == 0, 24.0)
    part = Point("picture, fixed", 24, channel, np.arange(25) < 20, 24.0, None, 4)
    assert digital.difference(part, whole).value == pytest.approx(-20)
    assert digital.difference(whole, part).value == pytest.approx(20)


def test_who_wins_is_said_where_it_is_sure() -> None:
    found = digital.by_method(points(), 24)
    assert digital.who_wins(found, "tokens, adaptive", 24) == (
        "24 uses, tokens, adaptive against analog, auto. AWGN: analog ahead at 0 dB by up to 70.0 points; tokens, "
        "adaptive ahead at 5, 10 dB by up to 10.0 points."
    )
    same = {"analog, auto": found["analog, auto"], "label": found["analog, auto"]}
    assert digital.who_wins(same, "label", 24).endswith("AWGN: no difference beyond its 95% interval.")


def test_the_fall_below_the_design_is_told() -> None:
    text = digital.cliff(digital.by_method(points(), 24), 24)
    assert "tokens, fixed stands at 90.0% at 10 dB and at 90.0 (5 dB), 10.0 (0 dB)" in text
    assert "analog, auto stands at 80.0% at 10 dB and at 80.0 (5 dB), 80.0 (0 dB)" in text


def test_tables_and_plots_hold_every_point() -> None:
    channels = [Channel("awgn", snr_db) for snr_db in SNRS_DB]
    table = digital.accuracy_table(points(), 24, channels)
    assert [row["method"] for row in table.rows] == ["analog, auto", "tokens, adaptive", "tokens, fixed"]
    assert table.rows[0]["uses"] == 20.0
    assert table.text("AWGN 0 dB", table.rows[1]["AWGN 0 dB"]) == "10.0 ± 3.0"
    schemes = digital.schemes_table(points(), channels)
    assert [row["channel"] for row in schemes.rows] == ["AWGN 0 dB", "AWGN 5 dB", "AWGN 10 dB"]
    curves = digital.plot(points(), "awgn").panels["AWGN, 24 channel uses"]
    assert [list(curve.x) for curve in curves] == [list(SNRS_DB)] * 3
    assert digital.plot(points(), "rayleigh").panels == {"Rayleigh, 24 channel uses": []}
