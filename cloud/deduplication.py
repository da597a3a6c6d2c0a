"""A frame that is sent again is answered again, and computed once."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from thinwire.errors import InvalidFrameError

R = TypeVar("R")
Key = tuple[str, str, int]


@dataclass
class _Running(Generic[R]):
    content: bytes
    task: asyncio.Task[R]
    callers: int = 0


@dataclass(frozen=True)
class _Stored(Generic[R]):
    content: bytes
    result: R
    expires: float


class Deduplicator(Generic[R]):
    """Remembers results by `thinwire.frames.frame_key`, and lets repeated frames join the work in flight.

    Failures are not remembered. Work in flight lasts as long as one of its callers does, and is not counted.

    Args:
        max_entries: most results that are kept; the oldest goes first.
        ttl_s: how long a result is kept, in seconds.
    """

    def __init__(self, max_entries: int, ttl_s: float) -> None:
        self._max_entries = max_entries
        self._ttl_s = ttl_s
        self._running: dict[Key, _Running[R]] = {}
        # In the order of expiry, since all live equally long.
        self._stored: dict[Key, _Stored[R]] = {}

    async def share(self, key: Key, content: bytes, work: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """The result for a frame: the stored one, that of the work in flight, or that of ``work``, started now.

        A caller that is cancelled leaves the work to the others; with the last one the work is cancelled.

        Args:
            key: the frame's name.
            content: digest of all that its result depends on.

        Raises:
            InvalidFrameError: a frame of this name came with another content.
            Exception: what the work raises, to all that wait for it.
        """
        self._forget()
        known = self._running.get(key) or self._stored.get(key)
        if known is not None and known.content != content:
            raise InvalidFrameError("another frame of this link, request and sequence number came before this one")
        if isinstance(known, _Stored):
            return known.result
        running = known or self._start(key, content, work)
        running.callers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.callers -= 1
            if not running.callers and not running.task.done():
                running.task.cancel()
                # A repetition must not join work that is about to end.
                del self._running[key]

    def _start(self, key: Key, content: bytes, work: Callable[[], Coroutine[Any, Any, R]]) -> _Running[R]:
        running = _Running(content, asyncio.create_task(work()))
        self._running[key] = running
        running.task.add_done_callback(partial(self._finish, key, running))
        return running

    def _finish(self, key: Key, running: _Running[R], task: asyncio.Task[R]) -> None:
        # Asked for in any case, or asyncio reports as lost the failure of work that all callers left.
        failed = task.cancelled() or task.exception() is not None
        if self._running.get(key) is not running:
            return
        del self._running[key]
        if not failed:
            self._stored[key] = _Stored(running.content, task.result(), time.monotonic() + self._ttl_s)
            self._forget()

    def _forget(self) -> None:
        now = time.monotonic()
        while self._stored:
            oldest = next(iter(self._stored))
            if len(self._stored) <= self._max_entries and self._stored[oldest].expires > now:
                return
            del self._stored[oldest]
