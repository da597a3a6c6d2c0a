"""Requests through real gRPC with a real model: side by side, under budgets, and over every test image."""

import asyncio

import numpy as np
import pytest

from channel.profiles import Profile
from offline.measure.evaluator import request_id_of
from policies.fronts import Fronts
from tests.e2e.loopback import loopback
from tests.parts import random_pixels
from thinwire.bundle import FRONT
from thinwire.images import to_png
from thinwire.rest.schemas import BudgetBody, Parameters


async def test_two_policies_at_once_give_what_each_gives_alone(tiny_bundle):
    policies = [measured.policy.id for measured in Fronts.load(tiny_bundle.path(FRONT), tiny_bundle.digest).policies]
    images = [to_png(pixels) for pixels in random_pixels(6, seed=9)]
    requests = [
        (image, policy, request_id_of(f"{policy}/{i}")) for i, image in enumerate(images) for policy in policies
    ]
    async with loopback(tiny_bundle, "pair", Profile(snr_db=10.0, seed=1)) as testbed:

        async def ask(image, policy, request_id):
            answer = await testbed.service.classify(image, Parameters(policy=policy), request_id, want_logits=True)
            return answer.policy_id, answer.tokens, answer.logits

        together = await asyncio.gather(*(ask(*request) for request in requests))
    # A second testbed: the first cloud would answer repeated frames from memory.
    async with loopback(tiny_bundle, "pair", Profile(snr_db=10.0, seed=1)) as testbed:
        alone = [
            await testbed.service.classify(image, Parameters(policy=policy), request_id, want_logits=True)
            for image, policy, request_id in requests
        ]
    assert len({tokens for _, tokens, _ in together}) > 1
    for (policy_id, tokens, logits), answer, (_, asked, _) in zip(together, alone, requests, strict=True):
        assert policy_id == asked
        assert (tokens, policy_id) == (answer.tokens, answer.policy_id)
        np.testing.assert_allclose(logits, answer.logits, atol=1e-4)


@pytest.mark.parametrize("budget", [4, 11, 37, 120])
async def test_no_frame_exceeds_its_budget(tiny_bundle, budget):
    async with loopback(tiny_bundle, "budget", Profile()) as testbed:
        for pixels in random_pixels(10, seed=4):
            parameters = Parameters(budget=BudgetBody(channel_uses=budget))
            answer = await testbed.service.classify(to_png(pixels), parameters)
            assert 0 < answer.uses.total <= budget
            assert len(testbed.delivered[-1].symbols) == 8 * answer.uses.total
