"""Micro-batching: requests that arrive together run through the model together, and each gets its own answer."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

from cloud.scheduling import ModelThread, Pace
from thinwire import tracing
from thinwire.errors import DeadlineError, OverloadedError, ThinwireError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)
class _Waiting(Generic[T]):
    """An item on its way, its times by `time.perf_counter`, but for the deadline.

    Attributes:
        item: what the model gets.
        deadline_s: when its time is up, by the event loop's clock.
        came_s: when it came.
        began_s: when its first batch began; None while it waits.
        ended_s: when its last batch ended; None before that.
        batch: how many were in that one.
    """

    item: T
    deadline_s: float
    came_s: float
    began_s: float | None = None
    ended_s: float | None = None
    batch: int = 0


_Batch: TypeAlias = dict[asyncio.Future[R], _Waiting[T]]


class Batcher(Generic[T, R]):
    """Collects items into batches and runs them one after the other on one thread.

    Models are not re-entrant, and the event loop must stay free. What arrives while the model is busy forms the next
    batch, so batches grow with the load by themselves; a model that has just become free waits for the next item only
    where that pays (`Pace`). The earliest deadline goes first, and no more items with it than it has time for.
    An item that cannot be in time any more, by what runs took so far, stands behind those that can. One whose time is
    up never runs.

    Args:
        run: maps items to as many results, in order; an error among them concerns its item alone.
        max_batch: most items in one call of ``run``.
        max_queue: most items that wait while a batch runs.
        thread: of the model, where several batchers share it; by default the batcher has its own.
        on_batch: told the size of each batch before it runs; items that run again alone are batches of one.
        on_passage: told how long each answered item waited and how long it was in the model, in seconds.

    Raises:
        ValueError: ``max_batch`` or ``max_queue`` is under 1.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R | ThinwireError]],
        max_batch: int,
        max_queue: int,
        thread: ModelThread | None = None,
        on_batch: Callable[[int], None] = lambda size: None,
        on_passage: Callable[[float, float], None] = lambda queue_s, model_s: None,
    ) -> None:
        if max_batch < 1 or max_queue < 1:
            raise ValueError(f"expected max_batch >= 1 and max_queue >= 1, got {max_batch} and {max_queue}")
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._thread = thread or ModelThread()
        self._owns_thread = thread is None
        self._on_batch = on_batch
        self._on_passage = on_passage
        self._pace = Pace()
        # A dict, so that a caller who goes leaves the middle of the queue at once.
        self._waiting: _Batch[R, T] = {}
        # What runs again alone, because its batch failed.
        self._alone: deque[tuple[asyncio.Future[R], _Waiting[T]]] = deque()
        # Of a free model that waits for more.
        self._pause: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def waiting(self) -> int:
        """How many items wait for a batch."""
        return len(self._waiting)

    async def submit(self, item: T, deadline_s: float = math.inf) -> R:
        """The result for one item. If the caller is cancelled before its batch starts, the item never runs.

        Args:
            deadline_s: when the event loop's clock shows that, nobody wants the result any more.

        Raises:
            OverloadedError: the queue is full; it says when to come again.
            DeadlineError: the item's time was up before the model was free.
            UnavailableError: the batcher is closed.
            Exception: what ``run`` raises for this item when it runs alone, or gives as its result.
        """
        return await self.enqueue(item, deadline_s)

    def enqueue(self, item: T, deadline_s: float = math.inf) -> asyncio.Future[R]:
        """`submit` without a coroutine: gives a future. A full queue and a closed batcher raise at once."""
        if self._closed:
            raise UnavailableError("the server is stopping")
        if len(self._waiting) >= self._max_queue:
            raise OverloadedError(
                f"{self._max_queue} requests wait already; send it again later", retry_after_s=self._drain_s()
            )
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        self._waiting[result] = waiting = _Waiting(item, deadline_s, time.perf_counter())
        # It runs in the context of this call, inside its request's span.
        result.add_done_callback(partial(self._leave, waiting))
        self._pace.came(loop.time())
        if self._idle.is_set():
            self._idle.clear()
            # Not at once: what comes in this turn of the loop is in the batch, too.
            loop.call_soon(self._thread.take, self._gather)
        elif isinstance(self._pause, asyncio.TimerHandle):
            # Once: put off by every arrival, it would never come while they keep coming.
            self._pause.cancel()
            self._pause = loop.call_soon(self._gather)
        return result

    def _leave(self, waiting: _Waiting[T], result: asyncio.Future[R]) -> None:
        self._waiting.pop(result, None)
        if tracing.is_on():
            _trace(waiting)
        if not result.cancelled() and result.exception() is None:
            began_s, ended_s = waiting.began_s or waiting.came_s, waiting.ended_s or waiting.came_s
            self._on_passage(began_s - waiting.came_s, ended_s - began_s)

    async def close(self) -> None:
        """Refuse new items and those that wait, and finish the batch that runs."""
        self._closed = True
        for result in self._waiting:
            _settle(result, UnavailableError("the server is stopping"))
        self._waiting.clear()
        if self._pause is not None:
            self._pause.cancel()
            self._gather()
        # Nothing is cancelled with a caller who gives up on closing.
        await self._idle.wait()
        if self._owns_thread:
            self._thread.close()

    def _drain_s(self) -> float:
        """How long what waits is expected to take."""
        runs, rest = divmod(len(self._waiting), self._max_batch)
        return runs * self._pace.seconds(self._max_batch) + (self._pace.seconds(rest) if rest else 0.0)

    def _gather(self) -> None:
        """With the thread taken: run a batch, or first wait for more items for as long as that pays."""
        self._pause = None
        if 0 < len(self._waiting) < self._max_batch and not self._thread.wanted:
            loop = asyncio.get_running_loop()
            now_s = loop.time()
            self._pace.free(now_s, len(self._waiting))
            slack_s = min(waiting.deadline_s for waiting in self._waiting.values()) - now_s
            wait_s = self._pace.wait_s(len(self._waiting), slack_s)
            if wait_s > 0:
                self._pause = loop.call_later(wait_s, self._run_next)
                return
        self._run_next()

    def _run_next(self) -> None:
        """With the thread taken: run the next batch, if there is one."""
        self._pause = None
        batch = self._take()
        if batch:
            self._start(batch)
        else:
            self._go_on()

    def _start(self, batch: _Batch[R, T]) -> None:
        self._on_batch(len(batch))
        self._thread.run(partial(self._attempt, list(batch.values())), partial(self._ran, batch))

    def _go_on(self) -> None:
        """Give the thread to the next batcher, and take it again for what waits here."""
        self._thread.release()
        if self._waiting:
            self._thread.take(self._gather)
        else:
            self._idle.set()

    def _take(self) -> _Batch[R, T]:
        """The next batch; who has gone or whose time is up leaves the queue."""
        now_s = asyncio.get_running_loop().time()
        soonest_s = now_s + self._pace.seconds(1)
        live = []
        for result, waiting in list(self._waiting.items()):
            if result.done():
                # Cancelled in this very turn of the loop.
                del self._waiting[result]
            elif waiting.deadline_s <= now_s:
                del self._waiting[result]
                _settle(result, _too_late())
            else:
                live.append((waiting.deadline_s < soonest_s, waiting.deadline_s, result))
        if not live:
            return {}
        live.sort(key=lambda one: one[:2])
        too_late, deadline_s, _ = live[0]
        size = self._max_batch if too_late else self._pace.size(self._max_batch, deadline_s - now_s)
        return {result: self._waiting.pop(result) for *_, result in live[:size]}

    def _attempt(self, batch: list[_Waiting[T]]) -> tuple[Sequence[R | ThinwireError], float]:
        """The results, and the seconds that they took."""
        begin_s = time.perf_counter()
        for waiting in batch:
            waiting.began_s, waiting.batch = waiting.began_s or begin_s, len(batch)
        try:
            results = self._run([waiting.item for waiting in batch])
        finally:
            end_s = time.perf_counter()
            for waiting in batch:
                waiting.ended_s = end_s
        if len(results) != len(batch):
            raise RuntimeError(f"expected {len(batch)} results, got {len(results)}")
        return results, end_s - begin_s

    def _ran(self, batch: _Batch[R, T], outcome: tuple[Sequence[R | ThinwireError], float] | Exception) -> None:
        """Tell what came of a batch, and go on."""
        if not isinstance(outcome, Exception):
            answers, seconds = outcome
            self._pace.ran(len(batch), seconds)
            for result, answer in zip(batch, answers, strict=True):
                _settle(result, answer)
        elif len(batch) == 1:
            _settle(next(iter(batch)), outcome)
        else:
            # One item may have spoilt the batch for its neighbours.
            self._alone.extend(batch.items())
        while self._alone:
            result, waiting = self._alone.popleft()
            if waiting.deadline_s <= asyncio.get_running_loop().time():
                _settle(result, _too_late())
            elif not result.done():
                self._start({result: waiting})
                return
        self._go_on()


def _too_late() -> DeadlineError:
    return DeadlineError("the time was up before the model was free")


def _trace(waiting: _Waiting[Any]) -> None:
    """Record the two stages of an item as children of the span around the call."""
    now_s = time.perf_counter()
    tracing.record("queue", waiting.came_s, waiting.began_s or now_s)
    if waiting.began_s is not None:
        tracing.record("model", waiting.began_s, waiting.ended_s or now_s, batch=waiting.batch)


def _settle(result: asyncio.Future[R], answer: R | Exception) -> None:
    # The caller may have gone while the batch ran.
    if result.done():
        return
    if isinstance(answer, Exception):
        result.set_exception(answer)
    else:
        result.set_result(answer)
