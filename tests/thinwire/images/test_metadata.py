"""What stands beside sound pixels is obeyed where it can be read, and never costs the picture."""

import numpy as np
import pytest

from tests.thinwire.images import profiles
from tests.thinwire.images.files import tiff
from tests.thinwire.images.making import some, whole
from tests.thinwire.images.metadata_cases import CASES
from thinwire.images import decode, limits


@pytest.mark.parametrize("case", CASES, ids=[f"{case.form} {case.metadata}" for case in CASES])
def test_metadata_turn_or_convert_a_picture_or_are_ignored(case):
    plain = np.asarray(decode(case.plain))
    pixels = np.asarray(decode(case.data))
    if case.effect == "converted":
        inside = ((plain > 90) & (plain < 165)).all(-1)
        assert inside.any()
        assert np.abs(pixels - profiles.of_wide(plain))[inside].max() <= 2
    else:
        np.testing.assert_array_equal(pixels, np.rot90(plain, -1) if case.effect == "turned" else plain)


OF_EVERY_MODE = {
    **{dtype: (whole(dtype), 1, {}) for dtype in ("u1", "i1", "u2", "i2", "u4", "i4", "f4")},
    "WhiteIsZero of 16 bits": (whole("u2"), 0, {}),
    "1": (some(1), 1, {"bits": 1}),
    "LA": (whole("u1", 2), 1, {"extra": (2,)}),
    "La": (whole("u1", 2), 1, {"extra": (1,)}),
    "P": (some(3), 3, {"bits": 2, "tags": [(320, 3, list(range(0, 60000, 5000)))]}),
    "PA": (some(1, 2), 3, {"extra": (2,), "tags": [(320, 3, [7000] * 768)]}),
    "RGB": (whole("u1", 3), 2, {}),
    "RGB of 16 bits": (whole("u2", 3), 2, {}),
    "RGBA": (whole("u1", 4), 2, {"extra": (2,)}),
    "CMYK": (whole("u1", 4), 5, {}),
    "YCbCr": (whole("u1", 3), 6, {"tags": [(530, 3, [1, 1])]}),
    "LAB": (whole("u1", 3), 8, {}),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", OF_EVERY_MODE)
def test_every_mode_is_turned_and_cut_into_bands_alike(mode, order, monkeypatch):
    samples, photometric, options = OF_EVERY_MODE[mode]
    tags = options.get("tags", [])
    plain = np.asarray(decode(tiff(samples, photometric, order, **options)))
    data = tiff(samples, photometric, order, **options | {"tags": [*tags, (274, 3, [6])]})
    np.testing.assert_array_equal(np.asarray(decode(data)), np.rot90(plain, -1))
    monkeypatch.setattr(limits, "BAND_PIXELS", 50)
    np.testing.assert_array_equal(np.asarray(decode(data)), np.rot90(plain, -1))
