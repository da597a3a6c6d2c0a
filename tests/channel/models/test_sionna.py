"""Our channels against Sionna's, where that is installed: the same conventions, and the same statistics.

``pip install sionna-no-rt==2.2.0`` (or this project with the extra "sionna").
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from channel.models.jakes import Jakes
from channel.models.ofdm import Ofdm
from channel.models.rician import Rician
from channel.realisation import noise_variance, side_generator
from tests.channel.models.theory import Z, assert_mean, at_three_snrs, error_shares, qpsk, with_two_seeds

# Its import has warnings of its own.
pytestmark = pytest.mark.filterwarnings("ignore")
phy: Any = pytest.importorskip("sionna.phy", reason="needs sionna-no-rt")
torch: Any = pytest.importorskip("torch")
SPEED, CARRIER_HZ, SAMPLE_HZ = 30.0, 1e9, 2e4
LIGHT = 299_792_458.0


@pytest.fixture(autouse=True)
def _quiet_state() -> Iterator[None]:
    """Sionna seeds a generator of its own for the whole process."""
    before = phy.config.seed
    yield
    phy.config.seed = before


def assert_same_mean(ours: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Two sets of independent samples have the same mean, within the 99.9% interval of the difference."""
    error = math.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    assert abs(ours.mean() - theirs.mean()) < Z * error, (ours.mean(), theirs.mean(), error)


def wrong(bits: NDArray[np.int64], decided: NDArray[np.complex64]) -> NDArray[np.float64]:
    return ((np.stack([decided.real, decided.imag], axis=-1) < 0) != bits).mean(axis=-1)


@at_three_snrs
def test_n0_is_theirs(snr_db: float) -> None:
    """Their Eb/N0 of uncoded QPSK is half of Es/N0."""
    theirs = phy.utils.ebnodb2no(snr_db - 10 * math.log10(2), num_bits_per_symbol=2, coderate=1.0)
    assert noise_variance(snr_db) == pytest.approx(float(theirs), rel=1e-6)


@with_two_seeds
@at_three_snrs
def test_awgn_has_their_noise_and_their_errors(snr_db: float, seed: int) -> None:
    phy.config.seed = seed
    bits, sent = qpsk((48_000,), np.random.default_rng(seed))
    received = phy.channel.AWGN(device="cpu")(torch.from_numpy(sent), noise_variance(snr_db)).numpy()
    assert_mean(np.abs(received - sent).astype(np.float64) ** 2, noise_variance(snr_db))
    assert_same_mean(error_shares("awgn", snr_db, seed), wrong(bits, received))


@with_two_seeds
@at_three_snrs
def test_fast_rayleigh_has_the_errors_of_their_flat_fading(snr_db: float, seed: int) -> None:
    phy.config.seed = seed
    bits, sent = qpsk((48_000,), np.random.default_rng(seed))
    fading = phy.channel.FlatFadingChannel(1, 1, return_channel=True, device="cpu")
    received, gain = fading(torch.from_numpy(sent[:, None]), noise_variance(snr_db))
    decided = received.numpy()[:, 0] * gain.numpy()[:, 0, 0].conj()
    assert_same_mean(error_shares("rayleigh:coherence=1", snr_db, seed), wrong(bits, decided))


@pytest.mark.parametrize("model", [Ofdm(), Ofdm(8, 0.0, 32)])
def test_subcarriers_meet_what_they_make_of_the_same_taps(model: Ofdm) -> None:
    taps = model.draw_taps(side_generator(np.random.default_rng(3)))
    spacing_hz = 15e3
    frequencies = torch.arange(model.subcarriers, dtype=torch.float32) * spacing_hz
    delays = torch.arange(model.taps, dtype=torch.float32) / (model.subcarriers * spacing_hz)
    paths = torch.from_numpy(taps).reshape(1, 1, 1, 1, 1, model.taps, 1)
    theirs = phy.channel.utils.cir_to_ofdm_channel(frequencies, paths, delays.reshape(1, 1, 1, model.taps))
    ours = model.draw((model.subcarriers,), 10.0, np.random.default_rng(3)).gain
    np.testing.assert_allclose(ours, theirs.numpy().ravel(), atol=1e-5)


def their_first_tap(model: str, frames: int, steps: int, seed: int) -> NDArray[np.complex64]:
    """``frames x steps`` gains of the first tap of a delay line of 3GPP TR 38.901, of unit mean power."""
    phy.config.seed = seed
    line = phy.channel.tr38901.TDL(model, 1e-7, CARRIER_HZ, min_speed=SPEED, device="cpu")
    gains: NDArray[np.complex64] = line(frames, steps, SAMPLE_HZ)[0].numpy()[:, 0, 0, 0, 0, 0]
    return gains / np.sqrt(np.mean(np.abs(gains) ** 2))


@with_two_seeds
@pytest.mark.parametrize("lag", [5, 20, 60])
def test_the_doppler_fade_has_the_correlation_of_theirs(seed: int, lag: int) -> None:
    """Theirs is a sum of sinusoids, too (Xiao, Zheng and Beaulieu, 2006), with constant amplitudes."""
    doppler = SPEED / LIGHT * CARRIER_HZ / SAMPLE_HZ
    generator = np.random.default_rng(seed)
    ours = np.array([Jakes(doppler).draw((lag + 1,), 10.0, generator).gain for _ in range(3000)])
    theirs = their_first_tap("A", 3000, lag + 1, seed)
    products = [(gains[:, lag] * gains[:, 0].conj()).real.astype(np.float64) for gains in (ours, theirs)]
    assert_same_mean(*products)


@with_two_seeds
@at_three_snrs
def test_rician_has_the_errors_of_their_line_of_sight(snr_db: float, seed: int) -> None:
    """The first tap of TDL-D has a K of 13.3 dB (TR 38.901, table 7.7.2-4)."""
    theirs, generator = their_first_tap("D", 20_000, 1, seed)[:, 0], np.random.default_rng(seed)
    ours = np.array([Rician(13.3).draw((1,), snr_db, generator).gain for _ in range(20_000)])
    # Given the gain, each bit of QPSK is wrong with probability Q(sqrt(g |h|^2)).
    snr = 10 ** (snr_db / 10)
    rates = [0.5 * np.vectorize(math.erfc)(np.sqrt(snr / 2) * np.abs(gains)) for gains in (ours, theirs)]
    assert_same_mean(*rates)
    assert_same_mean(*(np.abs(gains).astype(np.float64) ** 4 for gains in (ours, theirs)))
