"""When a model runs, and on how much: the thread that batchers take in turns, and what they learn of its pace."""

import asyncio
import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from statistics import median
from typing import TypeVar

R = TypeVar("R")
# Runs that count: the weight of one halves every 14 runs, so that the estimate follows a model that warms up.
_DECAY = 0.95
# Gaps of which the median is taken: two of five may be anything.
_GAPS = 5


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


class Pace:
    """Estimates what a run of ``n`` items costs, ``a + b n``, and how soon the next item comes.

    All times are in seconds by one clock. It is told of runs (`ran`), of arrivals (`came`), and of the moments at which
    a free model had ``k`` items before it (`free`). The time from such a moment to the next arrival is kept by ``k``:
    callers who wait for their answers and then ask again come in bursts, and what matters is whether the burst goes on.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._nn = self._t = self._nt = 0.0
        self._cost = 0.0, 0.0
        self._gaps: dict[int, deque[float]] = {}
        self._free: tuple[float, int] | None = None

    def ran(self, size: int, seconds: float) -> None:
        """Take in a run."""
        sums = (self._weight, self._n, self._nn, self._t, self._nt)
        new = (1.0, size, size * size, seconds, size * seconds)
        self._weight, self._n, self._nn, self._t, self._nt = (
            _DECAY * old + one for old, one in zip(sums, new, strict=True)
        )
        self._cost = self._fit()

    def cost(self) -> tuple[float, float]:
        """The estimate: ``a``, which every run costs, and ``b``, which every item adds; least squares, none negative.

        Until runs of different sizes were seen, all is said to be the items'.
        """
        return self._cost

    def _fit(self) -> tuple[float, float]:
        n, t = self._n / self._weight, self._t / self._weight
        variance = self._nn / self._weight - n * n
        slope = (self._nt / self._weight - n * t) / variance if variance > 1e-9 * n * n else math.inf
        each = min(max(slope, 0.0), t / n)
        return t - each * n, each

    def seconds(self, size: int) -> float:
        """What a run of so many items is expected to take."""
        fixed, each = self.cost()
        return fixed + each * size

    def size(self, most: int, slack_s: float) -> int:
        """The most items, 1 to ``most``, of a run that is expected to end within ``slack_s``."""
        fixed, each = self.cost()
        if fixed + each * most <= slack_s:
            return most
        return int(max(1.0, (slack_s - fixed) / each)) if each > 0 else 1

    def free(self, now_s: float, waiting: int) -> None:
        """Take in that the model is free and so many items wait."""
        self._free = now_s, waiting

    def came(self, now_s: float) -> None:
        """Take in that an item came."""
        if self._free is not None:
            since_s, waiting = self._free
            self._gaps.setdefault(waiting, deque(maxlen=_GAPS)).append(now_s - since_s)
            self._free = None

    def wait_s(self, waiting: int, slack_s: float) -> float:
        """How long a free model should wait for one more item; 0: not at all.

        Against running at once, waiting for an item that comes after ``g`` delays ``k`` items by ``g + b`` each, and
        saves that item the rest of a run without it, ``a + b k - g``, of which it pays back ``b k``. So it pays if
        ``(k + 1) g + k b < a``. With ``g`` unknown or long, as for a lone caller, it never does.

        Args:
            waiting: ``k``.
            slack_s: time that the most urgent of them has.
        """
        gaps: Sequence[float] = self._gaps.get(waiting, ())
        fixed, each = self.cost()
        longest = (fixed - waiting * each) / (waiting + 1)
        if len(gaps) < _GAPS or median(gaps) >= longest:
            return 0.0
        return max(0.0, min(longest, slack_s - self.seconds(waiting + 1)))
