"""A link with pilots keeps the budget: they are counted by the proxy, fed back, and taken off by the edge."""

import pytest

from benchmarks.budgets import png
from channel.profiles import Profile
from tests.e2e.loopback import loopback
from tests.parts import random_pixels
from thinwire.errors import BudgetError
from thinwire.rest.schemas import Parameters

CSI = "pilots:count=4,every=16"
BUDGET = 60


async def test_a_budget_holds_with_pilots_in_it(tiny_bundle):
    pixels = random_pixels(6, seed=8)
    asked = Parameters.model_validate({"policy": "none", "budget": {"channel_uses": BUDGET}})
    async with loopback(tiny_bundle, "pilots", Profile("rayleigh", 10.0, symbol_rate_hz=1000.0, csi=CSI)) as testbed:
        first, *later = [await testbed.service.classify(png(one), asked) for one in pixels]
        with pytest.raises(BudgetError, match="room for 0 tokens"):
            await testbed.service.classify(
                png(pixels[0]), Parameters.model_validate({"policy": "none", "budget": {"channel_uses": 8}})
            )
        plain = Parameters.model_validate(
            {"policy": "none", "budget": {"channel_uses": BUDGET}, "channel": {"csi": "perfect"}}
        )
        without = await testbed.service.classify(png(pixels[0]), plain)
    # The first frame could not know of them, and says what they cost.
    assert (first.uses.payload, first.uses.pilots) == (56, 16)
    for answer in later:
        assert (answer.uses.payload, answer.uses.pilots) == (48, 12)
        assert answer.uses.total <= BUDGET
        assert answer.airtime_ms == pytest.approx(60.0)
    assert (without.uses.payload, without.uses.pilots) == (56, 0)
