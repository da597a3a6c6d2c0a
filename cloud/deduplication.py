"""A frame that is sent again is answered again, and computed once."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from cloud.held_frames import Held, HeldFrames, Key
from thinwire.errors import DeadlineError, IdTakenError

R = TypeVar("R")


@dataclass
class _Running(Generic[R]):
    """Work in flight, and a future of each of its callers: one of them may be cancelled, and the work not."""

    content: bytes
    work: asyncio.Future[R]
    deadline_s: float
    callers: list[asyncio.Future[R]] = field(default_factory=list)


class Deduplicator(Generic[R]):
    """Remembers results by `thinwire.frames.frame_key`, and lets repeated frames join the work in flight.

    Failures are not remembered. Work in flight lasts as long as one of its callers does, and is not counted.

    Args:
        held: keeps the results.
    """

    def __init__(self, held: HeldFrames[R]) -> None:
        self._held = held
        self._running: dict[Key, _Running[R]] = {}

    async def share(
        self, key: Key, content: bytes, work: Callable[[], asyncio.Future[R]], deadline_s: float = math.inf
    ) -> R:
        """The result for a frame: the stored one, that of the work in flight, or that of ``work``, started now.

        A caller that is cancelled leaves the work to the others; with the last one the work is cancelled.

        Args:
            key: the frame's name.
            content: digest of all that its result depends on.
            work: starts the work.
            deadline_s: of the work, if it is started now. Work in flight that ends with the time of whoever started
                it, which was up sooner, is started again.

        Raises:
            IdTakenError: a frame of this name came with another content.
            Exception: what the work raises, to all that wait for it.
        """
        while True:
            known = self._running.get(key) or self._held.get(key)
            if known is not None and known.content != content:
                raise IdTakenError("another frame of this link, request and sequence number came before this one")
            if isinstance(known, Held):
                return known.value
            running = known or self._start(key, content, work, deadline_s)
            try:
                return await self._join(key, running)
            except DeadlineError:
                if deadline_s <= running.deadline_s:
                    raise

    async def _join(self, key: Key, running: _Running[R]) -> R:
        caller: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        running.callers.append(caller)
        try:
            return await caller
        finally:
            running.callers.remove(caller)
            if not running.callers and not running.work.done():
                running.work.cancel()
                # A repetition must not join work that is about to end.
                del self._running[key]

    def _start(self, key: Key, content: bytes, work: Callable[[], asyncio.Future[R]], deadline_s: float) -> _Running[R]:
        running = _Running(content, work(), deadline_s)
        self._running[key] = running
        running.work.add_done_callback(partial(self._finish, key, running))
        return running

    def _finish(self, key: Key, running: _Running[R], work: asyncio.Future[R]) -> None:
        # Asked for in any case, or asyncio reports as lost the failure of work that all callers left.
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if self._running.get(key) is not running:
            return
        del self._running[key]
        if error is None:
            self._held.put(key, running.content, work.result())
        for caller in running.callers:
            if caller.done():
                continue
            if error is None:
                caller.set_result(work.result())
            elif work.cancelled():
                caller.cancel()
            else:
                caller.set_exception(error)
