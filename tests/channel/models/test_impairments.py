"""Erasure, phase noise and clipping: what is lost of the signal, in closed form."""

import math

import numpy as np
import pytest

from channel.models.clipping import Clipping
from channel.models.erasure import Erasure
from channel.models.phase_noise import PhaseNoise
from channel.realisation import apply, clipped, complex_noise
from tests.channel.models.theory import Z, assert_mean, at_three_snrs, qpsk, with_two_seeds

COUNT = 50_000


@with_two_seeds
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_share_of_erased_symbols(share: float, seed: int) -> None:
    gain = np.asarray(Erasure(share).draw((COUNT,), 10.0, np.random.default_rng(seed)).gain)
    assert set(np.unique(gain)) <= {0, 1}
    assert abs(np.mean(gain == 0) - share) < Z * math.sqrt(share * (1 - share) / COUNT)
    # Independent of the neighbour.
    assert_mean(((gain[1::2] == 0) & (gain[::2] == 0)).astype(float), share**2)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_and_everything_can_be_erased(share: float) -> None:
    gain = np.asarray(Erasure(share).draw((50, 4), 10.0, np.random.default_rng(0)).gain)
    assert np.all(gain == 1 - share)


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("rms_deg", [2, 10, 40])
def test_phase_noise_keeps_that_much_of_the_amplitude(snr_db: float, seed: int, rms_deg: float) -> None:
    sent = qpsk((COUNT,), np.random.default_rng(0))[1]
    drawn = PhaseNoise(rms_deg).draw(sent.shape, snr_db, np.random.default_rng(seed))
    assert drawn.gain == 1
    assert drawn.phase_error is not None
    np.testing.assert_allclose(np.abs(drawn.phase_error), 1, rtol=1e-6)
    seen = (apply(sent, drawn) * sent.conj()).astype(np.complex128)
    sigma = math.radians(rms_deg)
    assert_mean(seen.real, math.exp(-(sigma**2) / 2))
    assert_mean(seen.imag, 0.0)
    # The rest of the power joins the noise.
    error = np.abs(seen - math.exp(-(sigma**2) / 2)) ** 2
    assert_mean(error, 1 - math.exp(-(sigma**2)) + 10 ** (-snr_db / 10))


@with_two_seeds
@at_three_snrs
@pytest.mark.parametrize("level_db", [-3, 0, 5])
def test_clipped_gaussian_symbols_have_bussgangs_gain(snr_db: float, seed: int, level_db: float) -> None:
    """``a = E[c(x) conj(x)]``, and ``d = c(x) - a x`` is uncorrelated with x and has the rest of the power."""
    model = Clipping(level_db)
    limit = model.amplitude
    gain = 1 - math.exp(-(limit**2)) + math.sqrt(math.pi) / 2 * limit * math.erfc(limit)
    generator = np.random.default_rng(seed)
    sent = complex_noise((COUNT,), 1.0, generator)
    received = apply(sent, model.draw(sent.shape, snr_db, generator)).astype(np.complex128)
    seen = received * sent.conj()
    assert_mean(seen.real, gain)
    assert_mean(seen.imag, 0.0)
    power = 1 - math.exp(-(limit**2))
    assert_mean(np.abs(received) ** 2, power + 10 ** (-snr_db / 10))
    assert_mean(np.abs(received - gain * sent) ** 2, power - gain**2 + 10 ** (-snr_db / 10))


def test_the_limiter_limits_and_leaves_the_rest_alone() -> None:
    sent = np.array([0, 0.5j, -1, 3 + 4j], np.complex64)
    assert clipped(sent, 1.0)[:3].tolist() == sent[:3].tolist()
    np.testing.assert_allclose(clipped(sent, 1.0)[3], 0.6 + 0.8j, rtol=1e-6)
    assert clipped(sent, 1.0).dtype == np.complex64


def test_the_limiter_is_the_same_in_torch_and_lets_gradients_through() -> None:
    torch = pytest.importorskip("torch")
    sent = complex_noise((100,), 1.0, np.random.default_rng(0))
    sent[0] = 0
    tensor = torch.from_numpy(sent).requires_grad_()
    limited = clipped(tensor, 0.7)
    np.testing.assert_allclose(limited.detach().numpy(), clipped(sent, 0.7), rtol=1e-5)
    limited.abs().square().sum().backward()
    assert torch.isfinite(torch.view_as_real(tensor.grad)).all()
