"""Micro-batching: requests that arrive together run through the model together, and each gets its own answer."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from thinwire import tracing
from thinwire.errors import UnavailableError

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class _Waiting(Generic[T]):
    """An item on its way, its times by `time.perf_counter`.

    Attributes:
        item: what the model gets.
        came_s: when it came.
        began_s: when its first batch began; None while it waits.
        ended_s: when its last batch ended; None before that.
        batch: how many were in that one.
    """

    item: T
    came_s: float = field(default_factory=time.perf_counter)
    began_s: float | None = None
    ended_s: float | None = None
    batch: int = 0


class Batcher(Generic[T, R]):
    """Collects items into batches and runs them one after the other on one worker thread.

    Models are not re-entrant, and the event loop must stay free. Nothing waits for a batch to fill while the model is
    busy: what arrives meanwhile forms the next one, so batches grow with the load by themselves.

    Args:
        run: maps items to as many results, in order.
        max_batch: most items in one call of ``run``.
        max_wait_s: how long, in seconds, the first item waits for company when the model is idle.
        max_queue: most items that wait while a batch runs.
        worker: the one-thread executor of a model that several batchers share; by default the batcher has its own.
        on_batch: told the size of each batch before it runs; items that run again alone are batches of one.
        on_passage: told how long each answered item waited and how long it was in the model, in seconds.

    Raises:
        ValueError: ``max_batch`` or ``max_queue`` is under 1, or ``max_wait_s`` is negative.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Sequence[R]],
        max_batch: int,
        max_wait_s: float,
        max_queue: int,
        worker: ThreadPoolExecutor | None = None,
        on_batch: Callable[[int], None] = lambda size: None,
        on_passage: Callable[[float, float], None] = lambda queue_s, model_s: None,
    ) -> None:
        if max_batch < 1 or max_queue < 1 or max_wait_s < 0:
            raise ValueError(
                "expected max_batch >= 1, max_queue >= 1 and max_wait_s >= 0, "
                f"got {max_batch}, {max_queue} and {max_wait_s}"
            )
        self._run = run
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_queue = max_queue
        self._worker = worker or ThreadPoolExecutor(1, thread_name_prefix="batcher")
        self._owns_worker = worker is None
        self._on_batch = on_batch
        self._on_passage = on_passage
        # A dict, so that a caller who goes leaves the middle of the queue at once.
        self._waiting: dict[asyncio.Future[R], _Waiting[T]] = {}
        self._full = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._closed = False

    def waiting(self) -> int:
        """How many items wait for a batch."""
        return len(self._waiting)

    async def submit(self, item: T) -> R:
        """The result for one item. If the caller is cancelled before its batch starts, the item never runs.

        Raises:
            UnavailableError: the queue is full, or the batcher is closed.
            Exception: what ``run`` raises for this item when it runs alone.
        """
        if self._closed:
            raise UnavailableError("the server is stopping")
        if len(self._waiting) >= self._max_queue:
            raise UnavailableError(f"{self._max_queue} requests wait already; send it again later")
        result: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting[result] = waiting = _Waiting(item)
        if len(self._waiting) >= self._max_batch:
            self._full.set()
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
        self._full.set()
        if self._work is not None:
            # Not awaited itself: a caller who gives up on closing must not cancel the batch with it.
            await asyncio.wait({self._work})
        if self._owns_worker:
            self._worker.shutdown()

    async def _serve(self) -> None:
        """Run batches until nothing waits."""
        try:
            if self._max_wait_s > 0 and 0 < len(self._waiting) < self._max_batch:
                self._full.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._full.wait(), self._max_wait_s)
            while batch := self._take():
                await self._run_batch(batch)
        finally:
            self._work = None

    def _take(self) -> dict[asyncio.Future[R], _Waiting[T]]:
        # A caller that was cancelled in this very turn of the loop has not yet left the queue itself.
        live = [result for result in self._waiting if not result.done()][: self._max_batch]
        return {result: self._waiting.pop(result) for result in live}

    async def _run_batch(self, batch: dict[asyncio.Future[R], _Waiting[T]]) -> None:
        loop = asyncio.get_running_loop()
        self._on_batch(len(batch))
        try:
            answers = await loop.run_in_executor(self._worker, self._attempt, list(batch.values()))
        except Exception as error:
            if len(batch) == 1:
                _settle(next(iter(batch)), error=error)
                return
            # One item may have spoilt the batch for its neighbours.
            for result, waiting in batch.items():
                if not result.done():
                    await self._run_batch({result: waiting})
            return
        for result, answer in zip(batch, answers, strict=True):
            _settle(result, answer)

    def _attempt(self, batch: list[_Waiting[T]]) -> Sequence[R]:
        # Timed here: a worker that several batchers share may keep a batch waiting, too.
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
        return results


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
