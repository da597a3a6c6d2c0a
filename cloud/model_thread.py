"""The thread of a model, which several batchers may share."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from typing import TypeVar

R = TypeVar("R")


class ModelThread:
    """The one thread that a model runs on. Batchers that share it take turns, first come, first served.

    It calls back instead of giving futures, and is no executor of the standard library: for the smallest models, tasks
    and futures between the event loop and the thread cost as much as the model.
    """

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._taken = False
        self._next: deque[Callable[[], None]] = deque()

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the turn that somebody else has."""
        return bool(self._next)

    def take(self, then: Callable[[], None]) -> None:
        """Call ``then`` when the thread is free; it is taken from then on, until `release`."""
        if self._taken:
            self._next.append(then)
        else:
            self._taken = True
            then()

    def release(self) -> None:
        """End one's turn, and let the next begin."""
        if self._next:
            asyncio.get_running_loop().call_soon(self._next.popleft())
        else:
            self._taken = False

    def run(self, function: Callable[[], R], then: Callable[[R | Exception], None]) -> None:
        """Call a function on the thread, and ``then`` on the event loop with what it gave or raised."""
        loop = asyncio.get_running_loop()

        def call() -> None:
            outcome: R | Exception
            try:
                outcome = function()
            except BaseException as error:
                outcome = _carried(error)
            # The loop may have been closed over it.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(then, outcome)

        if self._thread is None:
            thread = threading.Thread(target=self._work, name="model", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                # The next call tries again.
                loop.call_soon(then, error)
                return
            self._thread = thread
        self._calls.put(call)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        if self._thread is not None:
            self._calls.put(None)
            self._thread.join()
            self._thread = None


def _carried(error: BaseException) -> Exception:
    # StopIteration cannot pass through a future, and an exit raised there would end the event loop.
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    carried = RuntimeError(f"the model raised {error!r}")
    carried.__cause__ = error
    return carried
