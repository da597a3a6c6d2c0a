"""Micro-batching: requests that arrive together run through the model together, and each gets its own answer."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from cloud.model_thread import ModelThread
from cloud.pace import Pace
from thinwire import tracing
from thinwire.errors import DeadlineError, OverloadedError, UnavailableError

T = TypeVar("T")
R = TypeVar("R")


@dataclass
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
    came_s: float = field(default_factory=time.perf_counter)
    began_s: float | None = None
    ended_s: float | None = None
    batch: int = 0


class Batcher(Generic[T, R]):
    """Collects items into batches and runs them one after the other on one thread.

    Models are not re-entrant, and the event loop must stay free. What arrives while the model is busy forms the next
    batch, so batches grow with the load by themselves; a model that has just become free waits for the next item only
    where that pays (`cloud.pace`). The earliest deadline goes first, and no more items with it than it has time for.
    An item that cannot be in time any more, by what runs took so far, stands behind those that can. One whose time is
    up never runs.

    Args:
        run: maps items to as many results, in order.
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
        run: Callable[[Sequence[T]], Sequence[R]],
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
        self._waiting: dict[asyncio.Future[R], _Waiting[T]] = {}
        self._came = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
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
            Exception: what ``run`` raises for this item when it runs alone.
        """
        if self._closed:
            raise UnavailableError("the server is stopping")
        if len(self._waiting) >= self._max_queue:
            raise OverloadedError(
                f"{self._max_queue} requests wait already; send it again later", retry_after_s=self._drain_s()
            )
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R] = loop.create_future()
        self._waiting[result] = waiting = _Waiting(item, deadline_s)
        self._pace.came(loop.time())
        self._came.set()
        if self._work is None:
            self._work = asyncio.create_task(self._serve())
        try:
            answer = await result
        finally:
            self._waiting.pop(result, None)
            # Here and not where the batch runs: only this task is inside its request's span.
            began_s, ended_s = _trace(waiting)
        self._on_passage(began_s - waiting.came_s, ended_s - began_s)
        return answer

    async def close(self) -> None:
        """Refuse new items and those that wait, and finish the batch that runs."""
        self._closed = True
        for result in self._waiting:
            if not result.done():
                result.set_exception(UnavailableError("the server is stopping"))
        self._waiting.clear()
        self._came.set()
        if self._work is not None:
            # Not awaited itself: a caller who gives up on closing must not cancel the batch with it.
            await asyncio.wait({self._work})
        if self._owns_thread:
            self._thread.close()

    def _drain_s(self) -> float:
        """How long what waits is expected to take."""
        runs, rest = divmod(len(self._waiting), self._max_batch)
        return runs * self._pace.seconds(self._max_batch) + (self._pace.seconds(rest) if rest else 0.0)

    async def _serve(self) -> None:
        """Run batches until nothing waits."""
        try:
            while self._waiting:
                # Taken in turn, so that what comes while another batcher has the model is in the batch, too.
                async with self._thread.turn():
                    await self._gather()
                    if batch := self._take():
                        await self._run_batch(batch)
        finally:
            self._work = None

    async def _gather(self) -> None:
        """Wait for more items for as long as that pays and nobody else wants the model."""
        loop = asyncio.get_running_loop()
        while 0 < len(self._waiting) < self._max_batch and not self._thread.wanted:
            now_s = loop.time()
            self._pace.free(now_s, len(self._waiting))
            slack_s = min(waiting.deadline_s for waiting in self._waiting.values()) - now_s
            wait_s = self._pace.wait_s(len(self._waiting), slack_s)
            if wait_s <= 0:
                return
            self._came.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._came.wait()
                continue
            return

    def _take(self) -> dict[asyncio.Future[R], _Waiting[T]]:
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
                _settle(result, error=_too_late())
            else:
                live.append((waiting.deadline_s < soonest_s, waiting.deadline_s, result))
        if not live:
            return {}
        live.sort(key=lambda one: one[:2])
        too_late, deadline_s, _ = live[0]
        size = self._max_batch if too_late else self._pace.size(self._max_batch, deadline_s - now_s)
        return {result: self._waiting.pop(result) for *_, result in live[:size]}

    async def _run_batch(self, batch: dict[asyncio.Future[R], _Waiting[T]]) -> None:
        loop = asyncio.get_running_loop()
        self._on_batch(len(batch))
        try:
            answers, seconds = await loop.run_in_executor(self._thread.executor, self._attempt, list(batch.values()))
        except Exception as error:
            if len(batch) == 1:
                _settle(next(iter(batch)), error=error)
                return
            # One item may have spoilt the batch for its neighbours.
            for result, waiting in batch.items():
                if waiting.deadline_s <= loop.time():
                    _settle(result, error=_too_late())
                elif not result.done():
                    await self._run_batch({result: waiting})
            return
        self._pace.ran(len(batch), seconds)
        for result, answer in zip(batch, answers, strict=True):
            _settle(result, answer)

    def _attempt(self, batch: list[_Waiting[T]]) -> tuple[Sequence[R], float]:
        """The results, and the seconds that they took."""
        begin_s = time.perf_counter()
        for waiting in batch:
            waiting.began_s, waiting.batch = waiting.began_s or begin_s, len(batch)
        try:
            results = self._run([waiting.item for waiting in batch])
        except BaseException as error:
            # StopIteration cannot pass through a future, and an exit raised here would end the event loop.
            if isinstance(error, Exception) and not isinstance(error, StopIteration):
                raise
            raise RuntimeError(f"the model raised {error!r}") from error
        finally:
            end_s = time.perf_counter()
            for waiting in batch:
                waiting.ended_s = end_s
        if len(results) != len(batch):
            raise RuntimeError(f"expected {len(batch)} results, got {len(results)}")
        return results, end_s - begin_s


def _too_late() -> DeadlineError:
    return DeadlineError("the time was up before the model was free")


def _trace(waiting: _Waiting[T]) -> tuple[float, float]:
    """Record the two stages of an item as children of the span around the call; when the second began and ended."""
    now_s = time.perf_counter()
    began_s, ended_s = waiting.began_s or now_s, waiting.ended_s or now_s
    tracing.record("queue", waiting.came_s, began_s)
    if waiting.began_s is not None:
        tracing.record("model", began_s, ended_s, batch=waiting.batch)
    return began_s, ended_s


def _settle(result: asyncio.Future[R], answer: R | None = None, error: Exception | None = None) -> None:
    # The caller may have gone while the batch ran.
    if result.done():
        return
    if error is not None:
        result.set_exception(error)
    else:
        result.set_result(answer)  # type: ignore[arg-type]
