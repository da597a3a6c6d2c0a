"""A few threads for one kind of work, and a queue before them that takes no more than it can do in time."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from thinwire.errors import DeadlineError, OverloadedError

T = TypeVar("T")

MAX_WAITING = 256
# Of a request's time, which has to do for what comes after the queue, too. At the whole of it a queue under steady
# overload would be just so long that all that leaves it is too late for the rest.
WAITING_SHARE = 0.5
# Of the latest call on average: one that took much too long is forgotten after some dozens.
_WEIGHT = 0.125


class Workers:
    """Runs calls on threads of their own, first come, first served.

    Whoever would wait too long, by the mean time of the calls so far, is refused at once, but never by an idle thread:
    an estimate is no verdict, and only calls that run can correct it.

    Args:
        name: of the threads.
        threads: most calls that run at once.
        max_waiting: most calls that wait.
    """

    def __init__(self, name: str, threads: int = 1, max_waiting: int = MAX_WAITING) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._threads = threads
        self._max_waiting = max_waiting
        self._mean_s: float | None = None
        # What waits or runs. A call whose caller has gone leaves at once if it waits, and keeps its thread if it runs.
        self._inside: set[Future[Any]] = set()

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return max(0, len(self._inside) - self._threads)

    def check(self, deadline_s: float) -> None:
        """Refuse what `run` would refuse now.

        Raises:
            OverloadedError: as for `run`.
        """
        before = len(self._inside) - self._threads + 1
        if before <= 0:
            return
        wait_s = before * (self._mean_s or 0.0) / self._threads
        left_s = deadline_s - asyncio.get_running_loop().time()
        if self.waiting >= self._max_waiting or wait_s > WAITING_SHARE * left_s:
            raise OverloadedError(
                f"{self.waiting} requests wait already, this one would for {wait_s:.2g} s; send it again later",
                retry_after_s=wait_s,
            )

    async def run(self, call: Callable[[], T], deadline_s: float = math.inf) -> T:
        """What a call gives. If the caller is cancelled before it begins, it never runs.

        Args:
            call: the work.
            deadline_s: when the event loop's clock shows that, nobody wants the result any more.

        Raises:
            OverloadedError: `MAX_WAITING` wait already, or those that do would take more than `WAITING_SHARE` of the
                time that is left; it says how long they would.
            DeadlineError: the time was up before a thread was free.
            Exception: what the call raises.
        """
        self.check(deadline_s)
        loop = asyncio.get_running_loop()

        def run() -> T:
            if loop.time() >= deadline_s:
                raise DeadlineError("the time was up before a thread was free")
            began_s = time.perf_counter()
            try:
                return call()
            finally:
                took_s = time.perf_counter() - began_s
                mean_s = took_s if self._mean_s is None else self._mean_s
                self._mean_s = mean_s + _WEIGHT * (took_s - mean_s)

        future = self._executor.submit(run)
        self._inside.add(future)
        future.add_done_callback(self._inside.discard)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop what waits, and end the threads once what runs has ended."""
        self._executor.shutdown(wait=False, cancel_futures=True)
