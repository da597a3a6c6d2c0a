"""Processes that die while requests run, for real."""

import asyncio
import os
import signal

import pytest

from deploy.ports import HOST, Ports
from deploy.testbed import LocalTestbed
from edge.answer import Answer
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from edge.torch_engine import TorchEngine
from policies.fronts import FrontFile
from tests.parts import random_pixels
from thinwire.bundle import FRONT
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters

FRAMES = 500


@pytest.mark.parametrize("victim", ["channel", "cloud"])
async def test_a_stream_outlives_a_peer_that_is_killed_and_started_again(tiny_bundle, tmp_path, monkeypatch, victim):
    # A cloud on a loaded machine takes its time to start.
    monkeypatch.setattr("edge.link_client.STREAM_PATIENCE_S", 90.0)
    ports = Ports.free()
    pictures = [to_png(pixels) for pixels in random_pixels(20)]
    with LocalTestbed([str(tiny_bundle.folder)], ports, log_folder=tmp_path, processes=("cloud", "channel")) as testbed:
        client = LinkClient(f"{HOST}:{ports.channel_grpc}")
        front_file = FrontFile(tiny_bundle.path(FRONT), tiny_bundle.digest)
        service = EdgeService(tiny_bundle, TorchEngine.load(tiny_bundle), front_file, Device(client, "stream"))
        while not await client.is_healthy(1.0):
            await asyncio.sleep(0.1)

        async def images():
            for index in range(FRAMES):
                yield pictures[index % len(pictures)]

        answers = []
        async for answer in service.classify_stream(images(), Parameters(timeout_ms=100_000)):
            answers.append(answer)
            if len(answers) == FRAMES // 4:
                process = testbed._processes[victim]
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                asyncio.get_running_loop().call_later(1.0, testbed.start, victim)
        service.device.close()
        await client.close()
    assert [type(answer) for answer in answers] == [Answer] * FRAMES
    # In the order of the images, each once.
    assert [answer.frame_id.partition("-")[2] or "0" for answer in answers] == [str(index) for index in range(FRAMES)]
    assert len({answer.frame_id.partition("-")[0] for answer in answers}) == 1
