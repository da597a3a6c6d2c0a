"""A slow fade as a trace: the first-order Gauss-Markov process."""

import math

import numpy as np
from numpy.typing import NDArray

from channel.profiles import MAX_SNR_DB, MIN_SNR_DB, Profile
from channel.trace import Trace
from thinwire.errors import InvalidRequestError

# Some 20 MB of CSV.
MAX_STEPS = 1_000_000
# The midpoint rule on a periodic integrand is exact to rounding with this many points for arguments up to pi.
_QUADRATURE_POINTS = 32


def correlation(doppler_hz: float, step_s: float) -> float:
    """The correlation of a Rayleigh fade with itself one step later, after Clarke and Jakes.

    ``rho = J0(2 pi f_D dt)``, with ``J0(x) = (1/pi) integral from 0 to pi of cos(x sin t) dt`` by the midpoint rule.

    Args:
        doppler_hz: the largest Doppler shift f_D.
        step_s: the step dt, at most half a period of ``doppler_hz``.
    """
    angles = (np.arange(_QUADRATURE_POINTS) + 0.5) * (math.pi / _QUADRATURE_POINTS)
    return float(np.mean(np.cos(2 * math.pi * doppler_hz * step_s * np.sin(angles))))


def gauss_markov(count: int, rho: float, generator: np.random.Generator) -> NDArray[np.complex128]:
    """Draw a stationary fade: ``g_0 ~ CN(0, 1)``, ``g_{k+1} = rho g_k + sqrt(1 - rho^2) w_k`` with ``w_k ~ CN(0, 1)``.

    Args:
        count: how many gains, at least 1.
        rho: correlation of neighbours, from -1 to 1.

    Returns:
        ``count`` gains of unit mean power.
    """
    parts = generator.standard_normal((count, 2)) * math.sqrt(0.5)
    gains: NDArray[np.complex128] = parts.view(np.complex128)[:, 0]
    innovation = math.sqrt(max(0.0, 1.0 - rho * rho))
    for index in range(1, count):
        gains[index] = rho * gains[index - 1] + innovation * gains[index]
    return gains


def record(*, mean_snr_db: float, doppler_hz: float, step_s: float, length_s: float, seed: int) -> Trace:
    """Record a Gauss-Markov fade: ``SNR_k = mean + 20 log10 |g_k|``, kept within the SNRs that a `Profile` may have.

    The fade is told as the average SNR of each step, so replay it with the model "awgn"; "rayleigh" would fade it once
    more. The g_k are `gauss_markov`'s with rho from `correlation`; the last row is one more step of the process, at
    ``length_s``, and marks the end.

    Args:
        mean_snr_db: SNR (Es/N0) in dB at |g| = 1, the mean power.
        doppler_hz: the largest Doppler shift; 0 draws one gain that stays.
        step_s: seconds between rows.
        length_s: seconds until the trace starts again, rounded to whole steps.
        seed: unsigned 64-bit integer, the key of a Philox4x64-10 generator.

    Raises:
        InvalidRequestError: a value is out of range, the step is too long for the Doppler shift (it must meet the
            fade twice a period, ``2 f_D dt <= 1``), or the trace would have no steps or too many.
    """
    Profile(snr_db=mean_snr_db, seed=seed)
    for name, value in (("doppler", doppler_hz), ("step", step_s), ("length", length_s)):
        if not 0 <= value < math.inf:
            raise InvalidRequestError(f"the {name} must be finite and not negative, got {value:g}")
    if 2 * doppler_hz * step_s > 1:
        raise InvalidRequestError(
            f"the step must be at most {0.5 / doppler_hz:g} s for a Doppler shift of {doppler_hz:g} Hz, got {step_s:g}"
        )
    # The half keeps the quotient's rounding out; comparing products keeps a step of zero from dividing.
    if not step_s <= length_s <= (MAX_STEPS + 0.5) * step_s or not step_s:
        raise InvalidRequestError(
            f"the length must be 1 to {MAX_STEPS} steps, got {length_s:g} s in steps of {step_s:g} s"
        )
    steps = round(length_s / step_s)
    generator = np.random.Generator(np.random.Philox(key=seed))
    gains = gauss_markov(steps + 1, correlation(doppler_hz, step_s), generator)
    # A gain of exactly zero has no logarithm; the floor takes it.
    powers = np.maximum(np.abs(gains) ** 2, np.finfo(np.float64).tiny)
    snr_db = np.clip(mean_snr_db + 10 * np.log10(powers), MIN_SNR_DB, MAX_SNR_DB)
    return Trace(tuple(index * step_s for index in range(steps + 1)), tuple(snr_db.tolist()))
