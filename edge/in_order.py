"""Work that overlaps, with its results in order."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def in_order(items: AsyncIterator[T], work: Callable[[T, int], Awaitable[R]], window: int) -> AsyncGenerator[R]:
    """What comes of items, in their order; they are read no faster than their results are taken.

    Args:
        items: as they come.
        work: begins with an item and its number, from 0; what is under way is cancelled when the generator is closed.
        window: items that are under way behind the one whose result is taken next.

    Raises:
        Exception: what reading or the work raised first, in the order of the items.
    """
    order: asyncio.Queue[asyncio.Task[R] | None] = asyncio.Queue()
    places = asyncio.Semaphore(window + 1)
    tasks: set[asyncio.Task[R]] = set()

    async def run(item: T, number: int) -> R:
        return await work(item, number)

    async def read() -> None:
        number = 0
        try:
            await places.acquire()
            async for item in items:
                task = asyncio.create_task(run(item, number))
                tasks.add(task)
                order.put_nowait(task)
                number += 1
                await places.acquire()
        finally:
            order.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await order.get()) is not None:
            result = await task
            tasks.discard(task)
            places.release()
            yield result
        await reader
    finally:
        for pending in (reader, *tasks):
            pending.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)
