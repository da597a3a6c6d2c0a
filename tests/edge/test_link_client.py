import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from edge.link_client import ATTEMPTS, LinkClient
from thinwire.errors import BudgetError, DeadlineError, UnavailableError
from thinwire.v1 import link_pb2

MakeFrame = Callable[..., link_pb2.Frame]


async def test_a_result_comes_back_and_the_deadline_goes_out(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    result = await client.infer(frame(5), 60.0)
    assert (result.link_id, result.request_id, result.sequence_number) == ("camera", "0123456789abcdef" * 2, 5)
    assert cloud.frames == [frame(5)]
    # The peer counts from the arrival, and the deadline is rounded on its way.
    assert 30.0 < cloud.remaining_s[0] < 61.0


async def test_the_peers_error_comes_back_as_itself_and_is_not_retried(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    cloud.refusal = lambda _: BudgetError("too dear")
    with pytest.raises(BudgetError, match="too dear"):
        await client.infer(frame(), 60.0)
    assert len(cloud.frames) == 1


async def test_a_peer_that_says_unavailable_has_tried_again_itself(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    cloud.refusal = lambda _: UnavailableError("no cloud")
    with pytest.raises(UnavailableError, match="no cloud"):
        await client.infer(frame(), 60.0)
    assert len(cloud.frames) == 1


async def test_time_that_runs_out_is_an_error_here_and_a_cancellation_there(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    cloud.delay_s = lambda _: 600.0
    async with asyncio.timeout(60):
        with pytest.raises(DeadlineError):
            await client.infer(frame(), 0.5)
        await cloud.cancelled.wait()
    assert len(cloud.frames) == 1


async def test_a_link_that_is_down_is_unavailable_before_the_deadline(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    await cloud.stop()
    async with asyncio.timeout(60):
        with pytest.raises(UnavailableError):
            await client.infer(frame(), 600.0)


async def test_a_frame_whose_connection_dies_is_sent_again_under_the_same_name(
    relayed: LinkClient, relay: Any, cloud: Any, frame: MakeFrame
) -> None:
    def die_once(_: link_pb2.Frame) -> None:
        if len(cloud.frames) == 1:
            asyncio.get_running_loop().call_later(0.05, relay.cut)

    cloud.on_frame = die_once
    cloud.delay_s = lambda _: 600.0 if len(cloud.frames) == 1 else 0.0
    result = await relayed.infer(frame(9), 60.0)
    assert result.sequence_number == 9
    assert cloud.frames == [frame(9), frame(9)]
    # The second attempt has what the first one left.
    # The connection was cut after 0.05 s.
    assert cloud.remaining_s[1] < cloud.remaining_s[0] - 0.04


async def test_retries_are_bounded(relayed: LinkClient, relay: Any, cloud: Any, frame: MakeFrame) -> None:
    cloud.on_frame = lambda _: asyncio.get_running_loop().call_later(0.05, relay.cut)
    cloud.delay_s = lambda _: 600.0
    with pytest.raises(UnavailableError):
        await relayed.infer(frame(), 60.0)
    assert len(cloud.frames) == ATTEMPTS


async def test_cancelling_reaches_the_peer(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    cloud.delay_s = lambda _: 600.0
    task = asyncio.create_task(client.infer(frame(), 600.0))
    await asyncio.wait_for(cloud.arrived.wait(), 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cloud.cancelled.wait(), 60)


async def test_health_is_the_peers(client: LinkClient, cloud: Any) -> None:
    assert await client.is_healthy(60.0)
    await cloud.stop()
    assert not await client.is_healthy(0.5)
