"""The shipped bundle that is split in the middle; test_questions.py has it through the three processes."""

import numpy as np

from offline.data.images import LabelledImages
from policies.fronts import Fronts
from tests.e2e.test_agreement import check_agreement
from thinwire.bundle import FRONT, check_served, load_bundle

BUNDLE = load_bundle("cifar10-middle")


def pictures(count: int) -> LabelledImages:
    """Coarse noise of the bundle's size."""
    generator = np.random.default_rng(4)
    pixels = generator.integers(0, 256, (count, 8, 8, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)
    names = tuple(f"coarse/{index}" for index in range(count))
    return LabelledImages(names, pixels, np.zeros(count, dtype=np.int64), BUNDLE.labels)


async def test_frames_get_what_the_evaluator_says():
    policies = Fronts.load(BUNDLE.path(FRONT), BUNDLE.digest).policies
    most_merging = min(policies, key=lambda measured: measured.objectives.edge_gmacs)
    assert await check_agreement(BUNDLE, pictures(12), most_merging.policy.id, "rayleigh") <= 3


def test_it_is_served_beside_the_other_of_its_task():
    check_served([load_bundle("cifar10"), BUNDLE])
