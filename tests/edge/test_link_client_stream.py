"""Streams over the link: each frame gets its one item, whatever becomes of the connection."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from edge import link_client
from edge.link_client import LinkClient
from edge.link_stream import LinkStream
from thinwire.errors import BudgetError, DeadlineError, InvalidRequestError, UnavailableError
from thinwire.v1 import link_pb2

MakeFrame = Callable[..., link_pb2.Frame]


async def _all(*frames: link_pb2.Frame) -> AsyncIterator[link_pb2.Frame]:
    for frame in frames:
        yield frame


async def test_a_stream_gives_one_item_per_frame_and_outlives_a_problem(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    cloud.refusal = lambda sent: InvalidRequestError("no") if sent.sequence_number == 1 else None
    results, errors = {}, {}
    async for item in client.stream(_all(*map(frame, range(4)))):
        if isinstance(item, tuple):
            errors[item[0]] = item[1]
        else:
            results[item.sequence_number] = item
    assert sorted(results) == [0, 2, 3]
    assert [(key, type(error), str(error)) for key, error in errors.items()] == [
        (("camera", "0123456789abcdef" * 2, 1), InvalidRequestError, "no")
    ]


async def test_a_stream_gives_results_as_they_are_ready(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    cloud.held = lambda sent: sent.sequence_number == 0
    order = []
    async for item in client.stream(_all(frame(0), frame(1))):
        order.append(item.sequence_number)  # type: ignore[union-attr]
        cloud.release.set()
    assert order == [1, 0]


async def test_a_stream_whose_connection_dies_sends_again_what_is_unanswered(
    relayed: LinkClient, relay: Any, cloud: Any, frame: MakeFrame
) -> None:
    answered = asyncio.Event()

    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield frame(0)
        await answered.wait()
        yield frame(1)
        yield frame(2)

    def die_once(sent: link_pb2.Frame) -> None:
        if sent.sequence_number == 2 and len(cloud.frames) == 3:
            asyncio.get_running_loop().call_later(0.05, relay.cut)

    cloud.on_frame = die_once
    cloud.delay_s = lambda sent: 600.0 if sent.sequence_number and len(cloud.frames) <= 3 else 0.0
    seen = []
    async for item in relayed.stream(frames()):
        seen.append(item.sequence_number)  # type: ignore[union-attr]
        answered.set()
    assert sorted(seen) == [0, 1, 2]
    assert sorted(sent.sequence_number for sent in cloud.frames) == [0, 1, 1, 2, 2]
    assert all(sent == frame(sent.sequence_number) for sent in cloud.frames)


async def test_a_stream_that_the_peer_ends_early_is_opened_again(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    async def answered() -> list[int]:
        stream = client.stream(_all(frame(0), frame(1)))
        return sorted([item.sequence_number async for item in stream])  # type: ignore[union-attr]

    # Many, because what the client sees of such an end depends on whether it was writing just then.
    cloud.hang_ups = 20
    assert await asyncio.gather(*(answered() for _ in range(20))) == [[0, 1]] * 20


async def test_a_stream_that_the_peer_keeps_ending_is_given_up(
    client: LinkClient, cloud: Any, frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_client, "STREAM_PATIENCE_S", 0.5)
    cloud.hang_ups = 1000
    ((_, error),) = [item async for item in client.stream(_all(frame(0)))]  # type: ignore[misc]
    assert isinstance(error, UnavailableError)
    # One attempt each tenth of a second, give or take.
    assert 2 <= 1000 - cloud.hang_ups <= 7


async def test_a_stream_gives_up_on_a_frame_and_recovers_with_the_link(
    client: LinkClient, cloud: Any, frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_client, "STREAM_PATIENCE_S", 0.5)
    await cloud.stop()
    failed = asyncio.Event()

    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield frame(0)
        await failed.wait()
        await cloud.start()
        while not await client.is_healthy(0.5):
            await asyncio.sleep(0.05)
        yield frame(1)

    items = []
    async for item in client.stream(frames()):
        items.append(item)
        failed.set()
    assert items[0][0][2] == 0
    assert isinstance(items[0][1], UnavailableError)
    assert items[1].sequence_number == 1


async def test_a_stream_sends_again_what_the_peer_finds_no_cloud_for(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    seen: Counter[int] = Counter()

    def refusal(sent: link_pb2.Frame) -> UnavailableError | None:
        seen[sent.sequence_number] += 1
        return UnavailableError("no cloud") if 0 < sent.sequence_number >= seen[sent.sequence_number] else None

    cloud.refusal = refusal
    items = [item async for item in client.stream(_all(*map(frame, range(4))))]
    # Each once, and nobody waited for those that failed.
    assert [item.sequence_number for item in items] == [0, 1, 2, 3]  # type: ignore[union-attr]
    assert seen == {0: 1, 1: 2, 2: 3, 3: 4}


async def test_a_stream_gives_up_on_a_cloud_that_stays_away_and_on_what_nobody_waits_for(
    client: LinkClient, cloud: Any, frame: MakeFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_client, "STREAM_PATIENCE_S", 0.5)
    cloud.refusal = lambda sent: UnavailableError("no cloud") if sent.sequence_number < 2 else None
    stream = client.stream(_all(*map(frame, range(3))), lambda key: key[2] != 1)
    items = [item async for item in stream]
    errors = [(item[0][2], type(item[1])) for item in items if isinstance(item, tuple)]
    assert sorted(errors) == [(0, UnavailableError), (1, UnavailableError)]
    assert len(items) == 3
    sent = Counter(one.sequence_number for one in cloud.frames)
    # One attempt each tenth of a second, give or take.
    assert 2 <= sent.pop(0) <= 7
    assert sent == {1: 1, 2: 1}


async def test_a_stream_passes_on_what_ended_its_frames(client: LinkClient, frame: MakeFrame) -> None:
    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield frame(0)
        raise OSError("the camera is gone")

    seen: list[Any] = []

    async def collect() -> None:
        async for item in client.stream(frames()):
            seen.append(item)

    with pytest.raises(OSError, match="camera"):
        await collect()
    assert len(seen) == 1


async def test_leaving_a_stream_cancels_the_call(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    async def frames() -> AsyncIterator[link_pb2.Frame]:
        yield frame(0)
        await asyncio.sleep(600)

    async with aclosing(client.stream(frames())) as items:
        async for _ in items:
            break
    await asyncio.wait_for(cloud.cancelled.wait(), 60)


async def test_senders_share_a_stream_and_each_gets_its_own(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    cloud.delay_s = lambda sent: 0.1 * (3 - sent.sequence_number)
    cloud.refusal = lambda sent: BudgetError("no") if sent.sequence_number == 1 else None
    link = LinkStream(client)
    results = await asyncio.gather(*(link.send(frame(n), 60.0) for n in range(3)), return_exceptions=True)
    assert results[0].sequence_number == 0  # type: ignore[union-attr]
    assert isinstance(results[1], BudgetError)
    assert results[2].sequence_number == 2  # type: ignore[union-attr]
    await link.close()


async def test_a_shared_stream_has_deadlines_and_an_end(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    cloud.held = lambda sent: sent.sequence_number == 0
    cloud.delay_s = lambda sent: 600.0 if sent.sequence_number == 2 else 0.0
    link = LinkStream(client)
    with pytest.raises(DeadlineError):
        await link.send(frame(0), 0.5)
    # Its result still comes, before the next one's, and nobody waits for it.
    cloud.release.set()
    assert (await link.send(frame(1), 60.0)).sequence_number == 1
    waiting = asyncio.create_task(link.send(frame(2), 600.0))
    async with asyncio.timeout(60):
        while len(cloud.frames) < 3:
            await asyncio.sleep(0.01)
        await link.close()
        with pytest.raises(UnavailableError):
            await waiting
        with pytest.raises(UnavailableError):
            await link.send(frame(1), 600.0)
