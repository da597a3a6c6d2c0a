"""A recorded fade has the power and the memory that its equation says."""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

from channel.fade import MAX_STEPS, correlation, gauss_markov, record
from channel.trace import Trace
from deploy.cli.main import main
from thinwire.errors import InvalidRequestError

Z = NormalDist().inv_cdf(0.9995)  # two-sided 99.9%
COUNT = 100_000
FADE = {"mean_snr_db": 12.0, "doppler_hz": 5.0, "step_s": 0.01, "length_s": 2.0, "seed": 3}


@pytest.mark.parametrize(
    ("argument", "value"),
    [(0.0, 1.0), (1.0, 0.7651976865579666), (2.404825557695773, 0.0), (math.pi, -0.30424217764409386)],
)
def test_correlation_is_the_bessel_function(argument: float, value: float) -> None:
    assert correlation(argument / (2 * math.pi) / 0.01, 0.01) == pytest.approx(value, abs=1e-13)


@pytest.mark.parametrize("rho", [0.0, 0.9, -0.3])
def test_gains_have_unit_power_and_the_correlation_asked_for(rho: float) -> None:
    gains = gauss_markov(COUNT, rho, np.random.default_rng(6))
    powers = np.abs(gains) ** 2
    # |g|^2 has variance 1 and correlation rho^(2k) at lag k; summed over the lags, (1 + rho^2) / (1 - rho^2).
    assert abs(powers.mean() - 1) < Z * math.sqrt((1 + rho**2) / (1 - rho**2) / COUNT)
    assert abs((gains.real**2).mean() - 0.5) < Z * math.sqrt((1 + rho**2) / (1 - rho**2) / COUNT / 2)
    # Least squares: each part of the estimate has the variance (1 - rho^2) / (2 n).
    estimate = np.vdot(gains[:-1], gains[1:]) / powers[:-1].sum()
    assert abs(estimate.real - rho) < Z * math.sqrt((1 - rho**2) / (2 * COUNT))
    assert abs(estimate.imag) < Z * math.sqrt((1 - rho**2) / (2 * COUNT))


def test_the_fade_is_stationary_from_its_first_gain_on() -> None:
    rng = np.random.default_rng(8)
    powers = np.array([np.abs(gauss_markov(3, 0.95, rng)) ** 2 for _ in range(4000)])
    assert np.all(np.abs(powers.mean(axis=0) - 1) < Z / math.sqrt(4000))


def test_a_record_is_the_fade_in_db_around_its_mean() -> None:
    trace = record(**FADE)
    gains = gauss_markov(201, correlation(5.0, 0.01), np.random.Generator(np.random.Philox(key=3)))
    assert trace.snr_db == pytest.approx(12.0 + 20 * np.log10(np.abs(gains)))
    assert trace.times_s == pytest.approx(np.arange(201) * 0.01)
    assert trace.symbol_rates_hz is None
    assert record(**FADE) == trace != record(**(FADE | {"seed": 4}))


def test_snrs_stay_within_a_profiles_limits() -> None:
    low, high = (record(**(FADE | {"mean_snr_db": mean, "length_s": 20.0})).snr_db for mean in (-29.0, 59.0))
    assert (min(low), max(high)) == (-30.0, 60.0)


def test_without_motion_nothing_fades() -> None:
    assert len(set(record(**(FADE | {"doppler_hz": 0.0})).snr_db)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean_snr_db": 60.5}, "snr_db must be"),
        ({"seed": -1}, "seed must be"),
        ({"doppler_hz": -1.0}, "doppler must be finite and not negative, got -1"),
        ({"step_s": math.nan}, "step must be finite and not negative, got nan"),
        ({"length_s": math.inf}, "length must be finite and not negative, got inf"),
        ({"doppler_hz": 50.1}, r"step must be at most 0.00998\S* s for a Doppler shift of 50.1 Hz, got 0.01"),
        ({"step_s": 0.0}, "length must be 1 to 1000000 steps, got 2 s in steps of 0 s"),
        ({"length_s": 0.009}, "length must be 1 to 1000000 steps, got 0.009 s in steps of 0.01 s"),
        ({"length_s": (MAX_STEPS + 1) * 0.01}, "length must be 1 to 1000000 steps"),
    ],
)
def test_a_fade_that_cannot_be_recorded_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        record(**(FADE | change))


def test_the_command_records_a_trace_that_can_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fade.csv"
    options = ["--mean-snr", "12", "--doppler", "5", "--step", "0.01", "--length", "2", "--seed", "3"]
    assert main(["channel", "record", "--output", str(path), *options]) == 0
    read, recorded = Trace.read(path), record(**FADE)
    assert read.snr_db == pytest.approx(recorded.snr_db, abs=6e-5)
    assert read.times_s == pytest.approx(recorded.times_s)
    assert main(["channel", "record", "--output", str(tmp_path), *options]) == 1
    assert "invalid_request: cannot write the trace" in capsys.readouterr().err
