"""A link that loses frames: they are sent again under the same name, until they arrive or it is no use."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from edge.link_client import TRANSMISSIONS, LinkClient
from edge.link_stream import LinkStream
from thinwire.errors import DeadlineError, FrameLostError
from thinwire.v1 import link_pb2

MakeFrame = Callable[..., link_pb2.Frame]


def lose(cloud: Any, times: Callable[[int], int]) -> None:
    """Lose each frame as often as its sequence number asks for."""
    seen: Counter[int] = Counter()

    def refusal(sent: link_pb2.Frame) -> FrameLostError | None:
        seen[sent.sequence_number] += 1
        return FrameLostError("lost") if seen[sent.sequence_number] <= times(sent.sequence_number) else None

    cloud.refusal = refusal


async def _all(*frames: link_pb2.Frame) -> AsyncIterator[link_pb2.Frame]:
    for frame in frames:
        yield frame


@pytest.mark.parametrize("times", [1, TRANSMISSIONS - 1])
async def test_a_lost_frame_is_sent_again_under_the_same_name(
    client: LinkClient, cloud: Any, frame: MakeFrame, times: int
) -> None:
    lose(cloud, lambda _: times)
    assert (await client.infer(frame(4), 60.0)).sequence_number == 4
    assert cloud.frames == [frame(4)] * (times + 1)


async def test_a_frame_that_is_always_lost_is_given_up(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    lose(cloud, lambda _: 1000)
    with pytest.raises(FrameLostError, match=f"lost on the air {TRANSMISSIONS} times"):
        await client.infer(frame(), 60.0)
    assert len(cloud.frames) == TRANSMISSIONS


async def test_the_deadline_bounds_all_transmissions_together(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    lose(cloud, lambda _: 1000)
    cloud.delay_s = lambda _: 0.2
    with pytest.raises(DeadlineError):
        await client.infer(frame(), 0.5)
    assert len(cloud.frames) <= 3


async def test_a_stream_sends_again_what_is_lost_and_gives_up_what_always_is(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    # The last frames too: the call must stay open until they have arrived.
    lose(cloud, lambda number: (0, 1, 3, 1000, 2)[number])
    items = [item async for item in client.stream(_all(*map(frame, range(5))))]
    errors = [item for item in items if isinstance(item, tuple)]
    assert sorted(item.sequence_number for item in items if not isinstance(item, tuple)) == [0, 1, 2, 4]
    ((key, error),) = errors
    assert (key[2], type(error)) == (3, FrameLostError)
    assert Counter(sent.sequence_number for sent in cloud.frames) == {0: 1, 1: 2, 2: 4, 3: TRANSMISSIONS, 4: 3}
    assert all(sent == frame(sent.sequence_number) for sent in cloud.frames)


async def test_others_go_on_while_a_frame_is_lost(client: LinkClient, cloud: Any, frame: MakeFrame) -> None:
    lose(cloud, lambda number: 0 if number else 1000)
    cloud.delay_s = lambda sent: 0.0 if sent.sequence_number else 0.1
    items = [item async for item in client.stream(_all(*map(frame, range(6))))]
    assert [item.sequence_number for item in items[:5]] == [1, 2, 3, 4, 5]  # type: ignore[union-attr]
    assert isinstance(items[5], tuple)


async def test_losses_are_not_forgotten_when_the_connection_dies(relay: Any, cloud: Any, frame: MakeFrame) -> None:
    client = LinkClient(f"127.0.0.1:{relay.port}")
    lose(cloud, lambda _: 1000)

    def die_once(_: link_pb2.Frame) -> None:
        if len(cloud.frames) == 5:
            relay.cut()

    cloud.on_frame = die_once
    (item,) = [item async for item in client.stream(_all(frame()))]
    assert isinstance(item, tuple)
    assert isinstance(item[1], FrameLostError)
    # The fifth was lost with the connection, and nobody heard of it.
    assert len(cloud.frames) == TRANSMISSIONS + 1
    await client.close()


async def test_a_frame_that_nobody_waits_for_is_not_sent_again(
    client: LinkClient, cloud: Any, frame: MakeFrame
) -> None:
    lose(cloud, lambda number: 0 if number else 1000)
    cloud.held = lambda sent: sent.sequence_number == 0
    link = LinkStream(client)
    with pytest.raises(DeadlineError):
        await link.send(frame(0), 0.5)
    cloud.release.set()
    # Its answer comes behind the news of the loss.
    assert (await link.send(frame(1), 60.0)).sequence_number == 1
    assert len(cloud.frames) == 2
    await link.close()
