"""A link with pilots keeps the budget: they are counted by the proxy, fed back, and taken off by the edge."""

import asyncio

import pytest

from channel.profiles import Profile
from tests.e2e.loopback import loopback
from tests.parts import random_pixels
from thinwire import rpc
from thinwire.csi import Csi
from thinwire.errors import BudgetError
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters
from thinwire.v1 import control_pb2, control_pb2_grpc

CSI = "pilots:count=4,every=16"
BUDGET = 60
LATER = control_pb2.Profile(model="rayleigh", snr_db=10.0, symbol_rate_hz=1e6, csi=CSI)


async def test_a_budget_holds_with_pilots_in_it(tiny_bundle):
    pixels = random_pixels(6, seed=8)
    asked = Parameters.model_validate({"policy": "none", "budget": {"channel_uses": BUDGET}})
    async with loopback(
        tiny_bundle, "pilots", Profile("rayleigh", 10.0, symbol_rate_hz=1000.0, csi=Csi.parse(CSI))
    ) as testbed:
        answers = [await testbed.service.classify(to_png(one), asked) for one in pixels]
        with pytest.raises(BudgetError, match="room for 0 tokens"):
            await testbed.service.classify(
                to_png(pixels[0]), Parameters.model_validate({"policy": "none", "budget": {"channel_uses": 8}})
            )
        plain = Parameters.model_validate(
            {"policy": "none", "budget": {"channel_uses": BUDGET}, "channel": {"csi": "perfect"}}
        )
        without = await testbed.service.classify(to_png(pixels[0]), plain)
    first, *later = answers
    for answer in answers:
        assert (answer.uses.payload, answer.uses.pilots) == (48, 12)
        assert answer.uses.total <= BUDGET
        assert answer.airtime_ms == pytest.approx(60.0)
    # The first was made before the edge had heard of them, and made again: the device paid for both.
    assert first.edge_gmacs > 1.5 * later[0].edge_gmacs
    assert (without.uses.payload, without.uses.pilots) == (56, 0)


async def test_a_stream_keeps_the_budget_when_the_pilots_change_under_it(tiny_bundle):
    pixels = random_pixels(6, seed=9)
    asked = Parameters.model_validate({"policy": "none", "budget": {"channel_uses": BUDGET}})
    async with loopback(tiny_bundle, "pilots", Profile("rayleigh", 10.0, csi=Csi.parse("pilots"))) as testbed:

        async def images():
            for index, one in enumerate(pixels):
                if index == 3:
                    while len(testbed.delivered) < index:
                        await asyncio.sleep(0.01)
                    changed = control_pb2.SetProfileRequest(link_id="pilots", profile=LATER)
                    async with rpc.open_channel(testbed.channel) as channel:
                        await control_pb2_grpc.ChannelControlStub(channel).SetProfile(changed)
                yield to_png(one)

        answers = [answer async for answer in testbed.service.classify_stream(images(), asked)]
    assert len(answers) == len(pixels)
    assert {answer.uses.pilots for answer in answers} == {1, 12}
    assert all(answer.uses.total <= BUDGET for answer in answers)
