"""What a stream of frames still has to send, and what it sent and has no answer for."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from thinwire.frames import frame_key
from thinwire.v1 import link_pb2

FrameKey = tuple[str, str, int]


@dataclass
class Sent:
    """A frame without an answer.

    Attributes:
        frame: the frame.
        losses: how often the link said that it was lost on the air.
        refusals: how often the peer said that it has no room for it.
        failed_s: when it first met a dead call, or a proxy without a cloud, in the event loop's seconds; None: not yet.
    """

    frame: link_pb2.Frame
    losses: int = 0
    refusals: int = 0
    failed_s: float | None = None


class Outbox:
    """The frames of one stream, across all the calls that it takes.

    New frames are read one ahead and no faster than they are taken. Create it inside a running event loop.

    Args:
        frames: the new frames, as they come.

    Attributes:
        unanswered: what was taken and has no answer yet, in the order in which it was first taken.
    """

    def __init__(self, frames: AsyncIterator[link_pb2.Frame]) -> None:
        self.unanswered: dict[FrameKey, Sent] = {}
        self._lost: deque[FrameKey] = deque()
        self._new: deque[link_pb2.Frame] = deque()
        self._room = asyncio.Semaphore(1)
        self._ended = False
        self._changed = asyncio.Event()
        # A task of its own, because a call that dies would take an async generator that it reads with it.
        self._reader = asyncio.create_task(self._read(frames))

    async def take(self) -> link_pb2.Frame | None:
        """The next frame to send, a lost one before a new one; None once nothing can come any more.

        Only one task may wait here.
        """
        while not self._lost and not self._new:
            if self._ended and not self.unanswered:
                return None
            self._changed.clear()
            await self._changed.wait()
        if self._lost:
            return self.unanswered[self._lost.popleft()].frame
        frame = self._new.popleft()
        self._room.release()
        self.unanswered[frame_key(frame)] = Sent(frame)
        return frame

    def take_over(self) -> list[link_pb2.Frame]:
        """What a new call has to send first: all frames without an answer."""
        self._lost.clear()
        return [sent.frame for sent in self.unanswered.values()]

    def drop(self, key: FrameKey) -> Sent | None:
        """Take out a frame that has its answer; None if it had one before."""
        if key in self._lost:
            self._lost.remove(key)
        self._changed.set()
        return self.unanswered.pop(key, None)

    def repeat(self, key: FrameKey) -> None:
        """Send a frame again, unless it has its answer."""
        if key in self.unanswered and key not in self._lost:
            self._lost.append(key)
        self._changed.set()

    def repeat_later(self, key: FrameKey, pause_s: float) -> None:
        """`repeat` a frame after so many seconds."""
        asyncio.get_running_loop().call_later(pause_s, self.repeat, key)

    async def _read(self, frames: AsyncIterator[link_pb2.Frame]) -> None:
        try:
            async for frame in frames:
                await self._room.acquire()
                self._new.append(frame)
                self._changed.set()
        finally:
            self._ended = True
            self._changed.set()

    async def check(self) -> None:
        """Wait for the end of the new frames, and raise what ended them if that was an exception."""
        await self._reader

    async def close(self) -> None:
        """Read no more frames."""
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
