"""Processes that die while requests run, for real."""

import asyncio

import pytest

from deploy.cli.engines import edge_engine
from edge.answer import Answer
from experiments.harness.processes import LINK, edge_service, link_of, running
from tests.e2e.peers import kill
from tests.parts import random_pixels
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters

FRAMES = 200


@pytest.mark.parametrize("victim", ["channel", "cloud"])
async def test_a_stream_outlives_a_peer_that_is_killed_and_started_again(shipped, monkeypatch, victim):
    # A cloud on a loaded machine takes its time to start.
    monkeypatch.setattr("edge.link_client.STREAM_PATIENCE_S", 90.0)
    pictures = [to_png(pixels) for pixels in random_pixels(20)]

    async def images():
        for index in range(FRAMES):
            yield pictures[index % len(pictures)]

    engine, answers = edge_engine(shipped, "auto", 1), []
    with running([shipped], processes=LINK) as testbed:
        async with edge_service(shipped, engine, link_of(testbed), "stream") as service:
            async for answer in service.classify_stream(images(), Parameters(timeout_ms=100_000)):
                answers.append(answer)
                if len(answers) == FRAMES // 4:
                    kill(testbed, victim)
                    asyncio.get_running_loop().call_later(0.5, testbed.start, victim)
    assert [type(answer) for answer in answers] == [Answer] * FRAMES
    # In the order of the images, each once.
    assert [answer.frame_id.partition("-")[2] or "0" for answer in answers] == [str(index) for index in range(FRAMES)]
    assert len({answer.frame_id.partition("-")[0] for answer in answers}) == 1
