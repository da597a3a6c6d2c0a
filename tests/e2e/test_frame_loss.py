"""A channel that loses a tenth of the frames: every image is answered once, as it would be without loss."""

import asyncio
import math

import pytest

from channel.profiles import Profile
from edge.answer import Answer
from offline.measure.evaluator import request_id_of
from tests.e2e.loopback import loopback
from tests.parts import random_pixels
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters

FRAMES = 300
LOSS = 0.1


async def _unary(service, pictures):
    slots = asyncio.Semaphore(8)

    async def ask(index):
        async with slots:
            return await service.classify(pictures[index % len(pictures)], Parameters(), request_id_of(str(index)))

    return await asyncio.gather(*(ask(index) for index in range(FRAMES)))


async def _stream(service, pictures):
    async def images():
        for index in range(FRAMES):
            yield pictures[index % len(pictures)]

    return [answer async for answer in service.classify_stream(images(), Parameters())]


@pytest.mark.parametrize("send", [_unary, _stream])
async def test_a_lossy_channel_costs_transmissions_and_nothing_else(tiny_bundle, monkeypatch, send):
    # A stream names itself at random; the noise is keyed by the name.
    monkeypatch.setattr("edge.service.secrets.token_hex", lambda _: "ab" * 16)
    pictures = [to_png(pixels) for pixels in random_pixels(20)]
    answers, delivered = {}, {}
    for run, loss in (("lossless", 0.0), ("lossy", LOSS), ("again", LOSS)):
        async with loopback(tiny_bundle, "lossy", Profile(seed=3, frame_loss=loss)) as testbed:
            answers[run] = await send(testbed.service, pictures)
            delivered[run] = {(f.request_id, f.sequence_number): f.symbols for f in testbed.delivered}
            # What is lost never arrives, and what arrives is answered.
            assert len(testbed.delivered) == FRAMES
        assert [type(answer) for answer in answers[run]] == [Answer] * FRAMES
        assert len({answer.frame_id for answer in answers[run]}) == FRAMES
    assert len(delivered["lossless"]) == FRAMES
    assert delivered["lossy"] == delivered["lossless"]
    for lossy, lossless in zip(answers["lossy"], answers["lossless"], strict=True):
        assert (lossy.frame_id, lossy.policy_id, lossy.uses, lossy.airtime_ms) == (
            *(lossless.frame_id, lossless.policy_id, lossless.uses, lossless.airtime_ms),
        )
        assert [label for label, _ in lossy.outputs] == [label for label, _ in lossless.outputs]
        # Batches differ, and with them the rounding.
        assert [score for _, score in lossy.outputs] == pytest.approx([s for _, s in lossless.outputs], abs=1e-4)
    assert {answer.transmissions for answer in answers["lossless"]} == {1}
    transmissions = [answer.transmissions for answer in answers["lossy"]]
    assert transmissions == [answer.transmissions for answer in answers["again"]]
    lost = sum(count > 1 for count in transmissions)
    # 3.29 standard deviations: 99.9% of a binomial.
    assert abs(lost - FRAMES * LOSS) < 3.29 * math.sqrt(FRAMES * LOSS * (1 - LOSS))
