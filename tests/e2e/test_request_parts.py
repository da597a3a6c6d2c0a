"""The benchmark of a request's parts on a tiny bundle."""

from experiments.speed import request
from tests.parts import random_pixels

MEASURED = 5


def test_it_measures_every_part_of_what_is_served(tiny_bundle, testbed):
    images = list(random_pixels(request.WARM_UP + MEASURED))
    results = [request.run(tiny_bundle, images, testbed.edge_url, policy) for policy in request.POLICIES]
    for result in results:
        assert result["images"] == MEASURED
        assert set(result["parts"]) == set(request.PARTS)
        assert all(result["parts"][part] > 0 for part in ("edge computation", "channel", "cloud computation"))
        low, high = result["overhead_quartiles"]
        assert low <= result["overhead"] <= high
    text = request.as_text(results)
    assert all(part in text for part in (*request.PARTS, *request.POLICIES))
