"""A cloud that refuses frames because too many wait: they come again when it asks for them, or not at all."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edge.link_client import OFFERS, LinkClient
from edge.link_stream import LinkStream
from thinwire.errors import DeadlineError, OverloadedError
from thinwire.v1 import link_pb2

MakeFrame = Callable[..., link_pb2.Frame]


def refuse(cloud: Any, times: int, retry_after_s: float = 0.02) -> None:
    """Refuse each frame so often."""
    seen: Counter[int] = Counter()

    def refusal(sent: link_pb2.Frame) -> OverloadedError | None:
        seen[sent.sequence_number] += 1
        return OverloadedError("full", retry_after_s) if seen[sent.sequence_number] <= times else None

    cloud.refusal = refusal


async def _all(*frames: link_pb2.Frame) -> AsyncIterator[link_pb2.Frame]:
    for frame in frames:
        yield frame


async def test_a_refused_frame_comes_again_after_the_time_asked_for(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    refuse(cloud, OFFERS - 1)
    started = time.monotonic()
    assert (await client.infer(frame(4), 60.0)).sequence_number == 4
    # Twice as long the second time.
    assert time.monotonic() - started >= 0.02 + 0.04
    assert cloud.frames == [frame(4)] * OFFERS


async def test_one_that_is_always_refused_is_told_so(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    refuse(cloud, 1000)
    with pytest.raises(OverloadedError, match="full") as raised:
        await client.infer(frame(), 60.0)
    assert raised.value.retry_after_s == 0.02
    assert len(cloud.frames) == OFFERS


async def test_no_time_to_come_again_is_told_at_once(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    refuse(cloud, 1000, retry_after_s=300.0)
    async with asyncio.timeout(60):
        with pytest.raises(OverloadedError):
            await client.infer(frame(), 200.0)
    assert len(cloud.frames) == 1


async def test_a_stream_offers_refused_frames_again_while_others_go_on(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    refusing = {1: 1, 3: 1000}
    seen: Counter[int] = Counter()

    def refusal(sent: link_pb2.Frame) -> OverloadedError | None:
        seen[sent.sequence_number] += 1
        refused = seen[sent.sequence_number] <= refusing.get(sent.sequence_number, 0)
        return OverloadedError("full", 0.01) if refused else None

    cloud.refusal = refusal
    items = [item async for item in client.stream(_all(*map(frame, range(5))))]
    errors = [item for item in items if isinstance(item, tuple)]
    assert sorted(item.sequence_number for item in items if not isinstance(item, tuple)) == [0, 1, 2, 4]
    ((key, error),) = errors
    assert (key[2], type(error)) == (3, OverloadedError)
    assert seen == {0: 1, 1: 2, 2: 1, 3: OFFERS, 4: 1}


async def test_whoever_stopped_waiting_is_not_offered_again(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    refuse(cloud, 1000, retry_after_s=0.2)
    stream = LinkStream(client)
    with pytest.raises(DeadlineError):
        await stream.send(frame(), 0.05)
    await asyncio.sleep(0.4)
    assert len(cloud.frames) <= 2
    await stream.close()
