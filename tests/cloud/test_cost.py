"""What the cloud computes, against a count by hand."""

import numpy as np
import pytest

from cloud.cost import cloud_gmacs
from tests.parts import make_classifier


@pytest.mark.parametrize("split_layer", [0, 1, 3])
def test_decoder_layers_and_head_are_counted(split_layer):
    classifier = make_classifier(split_layer, class_token=False, global_pool="avg")
    width, hidden, symbols = 24, 32, 8

    def by_hand(n):
        decoder = (2 * symbols + 2) * hidden + hidden * 3 * hidden + hidden * hidden + 2 * hidden * 2 * hidden
        decoder = n * (decoder + hidden * width + hidden) + 2 * n * n * hidden
        gate = 2 * 32 + 32 * hidden
        layer = n * (width * 3 * width + width * width + 2 * width * 4 * width) + 2 * n * n * width
        return decoder + gate + (3 - split_layer) * layer + width * 7

    counts = np.array([5, 1, 25, 5])
    np.testing.assert_allclose(cloud_gmacs(classifier, counts) * 1e9, [by_hand(n) for n in counts])
