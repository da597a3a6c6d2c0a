"""The SNR of what arrives, measured on coded frames, is the one that was set."""

import numpy as np
import pytest
from scipy.stats import chi2

from channel.profiles import Profile
from offline.measure.evaluator import request_id_of
from tests.e2e.loopback import loopback
from tests.parts import random_pixels
from thinwire.frames import check_frame
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters

IMAGES = 60


@pytest.mark.parametrize("model", ["awgn", "rayleigh"])
@pytest.mark.parametrize("snr_db", [-5.0, 10.0])
async def test_the_snr_that_is_set_is_the_snr_that_arrives(tiny_bundle, model, snr_db):
    noise_energy, uses, gains = 0.0, 0, []
    async with loopback(tiny_bundle, "snr", Profile(model, snr_db, seed=2)) as testbed:
        for index, pixels in enumerate(random_pixels(IMAGES, seed=8)):
            # A name for each image, so that the noise is the same in every run of this test.
            await testbed.service.classify(to_png(pixels), Parameters(policy="none"), request_id_of(str(index)))
            sent = testbed.engine.encoded[-1].symbols.astype(np.complex128)
            frame = testbed.delivered[-1]
            assert abs(np.mean(np.abs(sent) ** 2) - 1) < 1e-5
            gain = complex(frame.reception.gain_real, frame.reception.gain_imag)
            noise_energy += float(np.sum(np.abs(check_frame(frame) - gain * sent) ** 2))
            uses += sent.size
            gains.append(abs(gain) ** 2)
            assert frame.reception.snr_db == pytest.approx(snr_db)
    # 2 E / N0 follows a chi-squared law with two degrees of freedom per use; 99.9%, two-sided.
    low, high = chi2.ppf([0.0005, 0.9995], 2 * uses)
    assert low < 2 * noise_energy / 10 ** (-snr_db / 10) < high
    if model == "awgn":
        assert gains == [1.0] * IMAGES
    else:
        # The mean of |h|^2 of unit mean over blocks, likewise.
        low, high = chi2.ppf([0.0005, 0.9995], 2 * IMAGES)
        assert low < 2 * sum(gains) < high
