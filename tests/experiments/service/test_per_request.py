"""A request's parts on the shipped bundle."""

import numpy as np

from experiments.harness.processes import running
from experiments.service import per_request
from thinwire.bundle import load_bundle

WARM_UP, MEASURED = 2, 5


def test_it_measures_every_part_of_what_is_served(monkeypatch):
    monkeypatch.setattr(per_request, "WARM_UP", WARM_UP)
    bundle = load_bundle("cifar10")
    images = np.random.default_rng(0).integers(0, 256, (WARM_UP + MEASURED, 32, 32, 3), dtype=np.uint8)
    with running([bundle]) as testbed:
        results = [per_request.columns(bundle, images, testbed.edge_url, policy) for policy in per_request.POLICIES]
    for result in results:
        assert {len(values) for values in result.values()} == {MEASURED}
        for part in ("edge computation", "channel", "cloud computation"):
            assert (result[part] > 0).all()
        served = result["served, as the client sees it"]
        np.testing.assert_allclose(sum(result[part] for part in per_request.PARTS), served)
        np.testing.assert_allclose(served - result["overhead"], result["bare computation"])
