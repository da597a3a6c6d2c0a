"""From what the channel delivered to what the decoder takes."""

import numpy as np
import pytest

from cloud.reception import receive
from thinwire.errors import InvalidFrameError

SYMBOLS = np.array([[1 + 1j, -2j]], dtype=np.complex64)


def test_it_undoes_the_gain_and_scales_the_noise():
    gain = 0.5 - 0.25j
    received = receive((gain * SYMBOLS).astype(np.complex64), gain, 0.1)
    np.testing.assert_allclose(received.symbols, SYMBOLS, rtol=1e-6)
    assert received.noise_variance == pytest.approx(0.1 / abs(gain) ** 2)
    assert received.symbols.dtype == np.complex64


def test_without_noise_and_gain_it_is_the_identity():
    received = receive(SYMBOLS, 1 + 0j, 0.0)
    np.testing.assert_allclose(received.symbols, SYMBOLS, rtol=1e-7)
    assert received.noise_variance == 0


@pytest.mark.parametrize(
    ("gain", "variance"),
    [(complex("nan"), 0.1), (complex("inf"), 0.1), (1 + 0j, -0.1), (1 + 0j, float("nan")), (0j, 1e300)],
)
def test_what_cannot_be_is_refused(gain, variance):
    with pytest.raises(InvalidFrameError):
        receive(SYMBOLS, gain, variance)
