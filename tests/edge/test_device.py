"""What a device learns of its link, and the one thread of its engines."""

import asyncio
import math
import threading
from collections.abc import AsyncIterator

import pytest

from edge.device import Device
from edge.link_client import LinkClient
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.v1 import link_pb2


@pytest.fixture
async def device(client: LinkClient) -> AsyncIterator[Device]:
    device = Device(client, "camera", Channel("rician", 7.5), 2e4)
    yield device
    device.close()


def known(device: Device) -> tuple[float, float, str]:
    return device.channel.snr_db, device.symbol_rate_hz, device.channel.model


def report(snr_db: float = 3.0, rate_hz: float = 1e3, model: str = "awgn") -> link_pb2.ChannelReport:
    return link_pb2.ChannelReport(snr_db=snr_db, symbol_rate_hz=rate_hz, model=model)


async def test_what_the_link_says_takes_the_place_of_what_was_assumed(device: Device) -> None:
    assert known(device) == (7.5, 2e4, "rician")
    device.learn(report(), link_pb2.ChannelRequest())
    assert known(device) == (3.0, 1e3, "awgn")


async def test_what_a_request_asked_for_says_nothing_of_the_link(device: Device) -> None:
    device.learn(report(), link_pb2.ChannelRequest(model="awgn", snr_db=3.0))
    assert known(device) == (7.5, 1e3, "rician")


async def test_what_receivers_know_is_learnt_unless_it_was_asked_for(device: Device) -> None:
    assert device.channel.csi == Csi()
    told = link_pb2.ChannelReport(csi="pilots:count=4")
    device.learn(told, link_pb2.ChannelRequest(csi="pilots:count=4"))
    assert device.channel.csi == Csi()
    device.learn(told, link_pb2.ChannelRequest())
    assert device.channel.csi == Csi.parse("pilots:count=4")
    # Of a proxy of another version, or of none.
    for unknown in ("telepathy", ""):
        device.learn(link_pb2.ChannelReport(csi=unknown), link_pb2.ChannelRequest())
        assert device.channel.csi == Csi.parse("pilots:count=4")


@pytest.mark.parametrize("rate_hz", [0.0, math.inf, math.nan, -1.0])
async def test_a_symbol_rate_that_none_can_have_is_not_learnt(device: Device, rate_hz: float) -> None:
    device.learn(report(rate_hz=rate_hz, model=""), link_pb2.ChannelRequest())
    assert known(device) == (3.0, 2e4, "rician")


@pytest.mark.parametrize("snr_db", [math.inf, math.nan])
async def test_an_snr_that_is_none_is_not_learnt(device: Device, snr_db: float) -> None:
    device.learn(report(snr_db), link_pb2.ChannelRequest())
    assert known(device) == (7.5, 1e3, "awgn")


async def test_engines_run_one_at_a_time(device: Device) -> None:
    running, most = 0, 0
    lock = threading.Lock()

    def work() -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.01)
        with lock:
            running -= 1
        return most

    await asyncio.gather(*(device.run(work, "test") for _ in range(5)))
    assert most == 1
