"""Several requests under way at once, with the answers in order."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from thinwire.errors import InvalidRequestError

# As many as the edge itself overlaps: enough to keep its engine and the link busy.
OVERLAP = 4

Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Answered(Generic[Item, Answer]):
    """An item of a stream and what came of it.

    Attributes:
        number: of the item in the stream, from 0.
        item: what was asked about.
        answer: what the call returned.
        began_s: when it was sent; in a stream with a rate, when it was due. Seconds of a monotonic clock.
        ended_s: when the answer came.
    """

    number: int
    item: Item
    answer: Answer
    began_s: float
    ended_s: float

    @property
    def milliseconds(self) -> float:
        """Time to answer."""
        return 1e3 * (self.ended_s - self.began_s)


def in_order(
    items: Iterable[Item],
    ask: Callable[[int, Item], Awaitable[Answer]],
    overlap: int = OVERLAP,
    per_second: float | None = None,
) -> AsyncGenerator[Answered[Item, Answer]]:
    """Ask about items as they come; at most ``overlap``, and one that waits, are held at a time.

    With a rate, item k is due k / ``per_second`` seconds after the first. One that is sent later than that, because
    others are still under way, counts its time from when it was due: a camera does not wait.

    Args:
        items: read in a thread, one ahead.
        ask: sends an item of that number and returns the answer.
        overlap: items under way at once.
        per_second: how many to send a second; None: as fast as they are answered.

    Yields:
        the answers, in the order of the items.

    Raises:
        InvalidRequestError: at once, if the overlap or the rate is none.
        Exception: what reading or asking raised first, in the order of the items.
    """
    check_overlap(overlap, per_second)
    return _in_order(iter(items), ask, overlap, per_second)


def check_overlap(overlap: int, per_second: float | None) -> None:
    """Check how a stream is to be sent.

    Raises:
        InvalidRequestError: nothing could be under way, or the rate is not above zero.
    """
    if overlap < 1:
        raise InvalidRequestError(f"overlap must be at least 1, got {overlap}")
    if per_second is not None and not 0 < per_second < math.inf:
        raise InvalidRequestError(f"per_second must be above 0 and finite, got {per_second}")


async def _in_order(
    source: Iterator[Item], ask: Callable[[int, Item], Awaitable[Answer]], overlap: int, per_second: float | None
) -> AsyncGenerator[Answered[Item, Answer]]:
    end = object()
    room = asyncio.Semaphore(overlap)
    order: asyncio.Queue[asyncio.Task[Answered[Item, Answer]] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[Answered[Item, Answer]]] = set()

    async def answered(number: int, item: Item, began_s: float) -> Answered[Item, Answer]:
        return Answered(number, item, await ask(number, item), began_s, time.monotonic())

    async def read() -> None:
        number, first_s = 0, None
        try:
            while (item := await asyncio.to_thread(next, source, end)) is not end:
                due_s = None
                if per_second is not None:
                    first_s = time.monotonic() if first_s is None else first_s
                    due_s = first_s + number / per_second
                    await asyncio.sleep(due_s - time.monotonic())
                await room.acquire()
                task = asyncio.create_task(answered(number, item, due_s or time.monotonic()))  # type: ignore[arg-type]
                tasks.add(task)
                order.put_nowait(task)
                number += 1
        finally:
            order.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await order.get()) is not None:
            found = await task
            tasks.discard(task)
            room.release()
            yield found
        await reader
    finally:
        for pending in (reader, *tasks):
            pending.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)
