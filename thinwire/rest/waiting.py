"""Work for a request that ends with its deadline, or when its client goes away."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from thinwire.errors import DeadlineError

T = TypeVar("T")


async def within(work: Coroutine[Any, Any, T], deadline: float, timeout_ms: float) -> T:
    """The result of the work, which is cancelled when the event loop's clock shows ``deadline``.

    Args:
        timeout_ms: what the request asked for, for the message.

    Raises:
        DeadlineError: the clock does.
    """
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError:
        raise DeadlineError(f"no answer within {timeout_ms:g} ms") from None
    finally:
        # Where the time is up already, it never began.
        work.close()


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of the work, which is cancelled when the client goes away. The body must have been read.

    Raises:
        ClientDisconnect: the client went away.
    """
    task = asyncio.create_task(work)
    gone = asyncio.create_task(_disconnection(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _disconnection(request: Request) -> None:
    # Once the body is read, the server has nothing else to say; this waits and polls nothing.
    while (await request.receive())["type"] != "http.disconnect":
        pass
