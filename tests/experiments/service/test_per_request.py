"""A request's parts on a tiny bundle."""

import numpy as np

from experiments.harness.processes import running
from experiments.service import per_request
from tests.parts import random_pixels

MEASURED = 5


def test_it_measures_every_part_of_what_is_served(tiny_bundle):
    images = random_pixels(per_request.WARM_UP + MEASURED)
    with running([tiny_bundle]) as testbed:
        results = [
            per_request.columns(tiny_bundle, images, testbed.edge_url, policy) for policy in per_request.POLICIES
        ]
    for result in results:
        assert {len(values) for values in result.values()} == {MEASURED}
        for part in ("edge computation", "channel", "cloud computation"):
            assert (result[part] > 0).all()
        served = result["served, as the client sees it"]
        np.testing.assert_allclose(sum(result[part] for part in per_request.PARTS), served)
        np.testing.assert_allclose(served - result["overhead"], result["bare computation"])
