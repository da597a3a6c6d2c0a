"""Every format, mode and depth, against what NumPy makes of the samples that were written."""

import numpy as np
import pytest

from tests.thinwire.images.cases import CASES
from thinwire.errors import InvalidImageError
from thinwire.images import decode


@pytest.mark.parametrize("case", CASES, ids=[f"{case.form} {case.samples}" for case in CASES])
def test_a_file_looks_as_its_samples_say_or_is_refused_by_name(case):
    assert case.files
    for name, data in case.files.items():
        if case.expected is None:
            with pytest.raises(InvalidImageError, match=case.reason):
                decode(data)
            continue
        image = decode(data)
        assert image.mode == "RGB", name
        pixels = np.asarray(image, dtype=np.float64)
        assert pixels.shape == case.expected.shape, name
        assert np.abs(pixels - case.expected).max() <= case.tolerance, name
