"""One stream over the link for several tasks."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from edge.link_client import LinkClient, end, result_key
from edge.outbox import FrameKey
from thinwire import tracing
from thinwire.errors import DeadlineError, UnavailableError
from thinwire.frames import frame_key
from thinwire.v1 import link_pb2


class LinkStream:
    """One stream that several tasks send over, each waiting for its own result. Create it inside a running event loop.

    Args:
        client: the link.
    """

    def __init__(self, client: LinkClient) -> None:
        self._frames: asyncio.Queue[link_pb2.Frame] = asyncio.Queue()
        self._waiting: dict[FrameKey, asyncio.Future[link_pb2.Result]] = {}
        self._receiver = asyncio.create_task(self._receive(client))

    async def send(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        """Send one frame and wait for its result.

        Raises:
            DeadlineError: it did not come within ``timeout_s`` seconds; the frame is not sent again after that.
            FrameLostError: the frame was lost on the air too often.
            UnavailableError: the link is down, or the stream was closed.
            ThinwireError: whatever the peer answered with.
        """
        with tracing.span("link", tracing.CLIENT):
            frame.traceparent = tracing.traceparent()
            frame.timeout_ms = max(1, int(1e3 * timeout_s))
            return await self._send(frame, timeout_s)

    async def _send(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        answer: asyncio.Future[link_pb2.Result] = asyncio.get_running_loop().create_future()
        self._waiting[frame_key(frame)] = answer
        self._frames.put_nowait(frame)
        either: set[asyncio.Future[Any]] = {answer, self._receiver}
        try:
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[frame_key(frame)]
        if answer.done():
            return answer.result()
        if self._receiver.done():
            raise UnavailableError("the stream is closed")
        raise DeadlineError("the link did not answer in time")

    async def _outgoing(self) -> AsyncGenerator[link_pb2.Frame]:
        while True:
            yield await self._frames.get()

    async def _receive(self, client: LinkClient) -> None:
        async with aclosing(client.stream(self._outgoing(), self._waiting.__contains__)) as items:
            async for item in items:
                key = item[0] if isinstance(item, tuple) else result_key(item)
                answer = self._waiting.get(key)
                # Whoever sent it may have stopped waiting.
                if answer is None:
                    continue
                if isinstance(item, tuple):
                    answer.set_exception(item[1])
                else:
                    answer.set_result(item)

    async def close(self) -> None:
        """End the call; whoever still waits gets an error."""
        await end(self._receiver)
