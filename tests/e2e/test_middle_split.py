"""The shipped bundle that is split in the middle, through all three processes."""

import base64

import httpx
import numpy as np
import pytest

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from offline.data.images import LabelledImages
from policies.fronts import Fronts
from tests.e2e.test_agreement import check_agreement
from thinwire.bundle import FRONT, check_tasks, load_bundle
from thinwire.errors import InvalidRequestError
from thinwire.images import to_png

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


def test_three_processes_serve_it_and_nothing_is_left_behind(tmp_path):
    inputs = base64.b64encode(to_png(pictures(1).pixels[0])).decode()
    with LocalTestbed([BUNDLE.name], Ports.free(), log_folder=tmp_path) as testbed:

        def ask(url, **parameters):
            answer = httpx.post(f"{url}/v1/classify", json={"inputs": inputs, "parameters": parameters}, timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()

        processes = list(testbed._processes.values())
        plain = ask(testbed.cloud_url)
        unmerged = ask(testbed.edge_url, policy="none")
        within = ask(testbed.edge_url, budget={"channel_uses": BUNDLE.reference.channel_uses // 5})
    assert [process.poll() for process in processes] == [0, 0, 0]
    assert plain["outputs"][0]["label"] in BUNDLE.labels
    assert unmerged["link"]["channel_uses"] == BUNDLE.reference.channel_uses
    assert 0 < within["link"]["channel_uses"] <= BUNDLE.reference.channel_uses // 5
    assert within["cost"]["edge_gmacs"] < unmerged["cost"]["edge_gmacs"]


def test_it_is_not_served_beside_the_other_of_its_task():
    with pytest.raises(InvalidRequestError, match="one bundle for each task"):
        check_tasks([load_bundle("cifar10"), BUNDLE])
