"""What no code is known to beat by much: the normal approximation of the finite-blocklength capacity."""

import math
from statistics import NormalDist


def capacity(snr_db: float) -> float:
    """Bits per complex channel use that AWGN carries at most: log2(1 + SNR) (Shannon, 1948)."""
    return math.log2(1 + 10 ** (snr_db / 10))


def most_bits(uses: int, snr_db: float, error_rate: float) -> float:
    """Information bits of the best code of ``uses`` complex symbols at a block error rate.

    ``n C - sqrt(n V) Q^-1(e) + log2(2 n) / 2`` with ``V = SNR (SNR + 2) / (SNR + 1)^2 (log2 e)^2`` (Polyanskiy, Poor
    and Verdu, 2010, equation 296 with the dispersion of theorem 54, for 2n real symbols).
    """
    snr = 10 ** (snr_db / 10)
    dispersion = snr * (snr + 2) / (snr + 1) ** 2 * math.log2(math.e) ** 2
    spread = math.sqrt(uses * dispersion)
    return uses * capacity(snr_db) - spread * NormalDist().inv_cdf(1 - error_rate) + math.log2(2 * uses) / 2
