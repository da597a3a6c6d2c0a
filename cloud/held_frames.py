"""What the cloud keeps of frames for a while, so that one that is sent again is answered again and computed once."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from thinwire.access import caller
from thinwire.errors import DeadlineError, IdTakenError, UnknownFrameError
from thinwire.frames import frame_id
from thinwire.memory import Memory

R = TypeVar("R")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Held(Generic[R]):
    """What is kept of one frame.

    Attributes:
        content: digest of what came.
        value: what was made of it.
        owner: the name of whose it is; nobody else gets it.
    """

    content: bytes
    value: R
    owner: str = ""


@dataclass
class _Running(Generic[R]):
    """Work in flight, and a future of each of its callers: one of them may be cancelled, and the work not."""

    content: bytes
    work: asyncio.Future[R]
    deadline_s: float
    owner: str
    callers: list[asyncio.Future[R]] = field(default_factory=list)


class HeldFrames(Generic[R]):
    """Results by `thinwire.frames.frame_key`, in a `Memory` whose values are freed when their time is up.

    Frames that are repeated join the work in flight (`share`), which lasts as long as one of its callers does, and is
    not counted. Failures are not remembered. For one event loop, by whose clock the values age.

    Args:
        max_frames: most values.
        max_age_s: how long a value is kept after it came, in seconds, however often it is used. Its memory is freed
            then, whether or not anybody asks.
        max_bytes: most memory of all values together; one that needs more is not kept at all.
        size: the memory that a value takes, in bytes.
    """

    def __init__(self, max_frames: int, max_age_s: float, max_bytes: int, size: Callable[[R], int]) -> None:
        self._memory: Memory[Key, Held[R]] = Memory(
            max_frames,
            max_bytes,
            max_age_s,
            lambda held: size(held.value),
            lambda: asyncio.get_running_loop().time(),
            self._forget,
        )
        self._running: dict[Key, _Running[R]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._by_id: dict[str, list[Key]] = {}
        self._owners: dict[Key, str] = {}

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Memory of all values."""
        return self._memory.nbytes

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
            UnknownFrameError: the frame is of another caller than this one.
            IdTakenError: a frame of this name came with another content.
            Exception: what the work raises, to all that wait for it.
        """
        while True:
            known = self._running.get(key) or self.get(key)
            if known is not None and known.owner != caller().name:
                raise UnknownFrameError(f"no frame {frame_id(*key[1:])} of yours")
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
        running = _Running(content, work(), deadline_s, caller().name)
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
            self.put(key, running.content, work.result(), running.owner)
        for waiting in running.callers:
            if waiting.done():
                continue
            if error is None:
                waiting.set_result(work.result())
            elif work.cancelled():
                waiting.cancel()
            else:
                waiting.set_exception(error)

    def get(self, key: Key) -> Held[R] | None:
        """What is kept of a frame, which counts as a use."""
        return self._memory.get(key)

    def find(self, name: str) -> Held[R] | None:
        """What is kept of the caller's frame of this `thinwire.frames.frame_id`, which counts as a use."""
        # Links may give frames one name; the latest counts.
        for key in reversed(self._by_id.get(name, [])):
            if self._owners[key] == caller().name:
                return self.get(key)
        return None

    def put(self, key: Key, content: bytes, value: R, owner: str = "") -> None:
        """Keep a value in place of any other of this frame."""
        # Named first: what does not fit is dropped within.
        self._memory.pop(key)
        self._by_id.setdefault(frame_id(*key[1:]), []).append(key)
        self._owners[key] = owner
        self._memory.put(key, Held(content, value, owner))
        if self._memory.get(key) is None:
            self._forget(key)
        self._wait()

    def clear(self) -> None:
        """Keep nothing."""
        self._memory.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        """One timer, that of the oldest, does for all."""
        if self._timer is None and self._memory.ends_s < math.inf:
            self._timer = asyncio.get_running_loop().call_at(self._memory.ends_s, self._expire)

    def _expire(self) -> None:
        self._timer = None
        self._memory.trim()
        self._wait()

    def _forget(self, key: Key) -> None:
        name = frame_id(*key[1:])
        keys = self._by_id.get(name, [])
        if key in keys:
            keys.remove(key)
        self._owners.pop(key, None)
        if not keys:
            self._by_id.pop(name, None)
