"""How much one name may ask for: requests a second, and requests at once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from thinwire.errors import InvalidRequestError, OverloadedError
from thinwire.memory import Memory

# Names come from a file; without one there is a single nobody.
MAX_NAMES = 65_536
# What is said of when to come again, where nobody knows when one of many requests will end.
BUSY_S = 1.0


@dataclass
class _Use:
    """What a name has left of its rate, as of a time, and what it has under way."""

    left: float
    at_s: float
    running: int = 0


class Limits:
    """Rate and concurrency by name. For one event loop.

    Args:
        rate: requests a second that a name may make, of which those of one second (at least one) may come together;
            None: any number.
        concurrency: requests that it may have under way; None: any number.
        clock: seconds from any origin.

    Raises:
        InvalidRequestError: nothing could ever be asked.
    """

    def __init__(
        self,
        rate: float | None = None,
        concurrency: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if rate is not None and not rate > 0:
            raise InvalidRequestError(f"a rate limit must be above 0, got {rate}")
        if concurrency is not None and concurrency < 1:
            raise InvalidRequestError(f"a concurrency limit must be at least 1, got {concurrency}")
        self._rate, self._concurrency, self._clock = rate, concurrency, clock
        self._burst = max(1.0, rate or 0.0)
        self._uses: Memory[str, _Use] = Memory(MAX_NAMES)

    @contextmanager
    def request(self, name: str) -> Iterator[None]:
        """One request of a name, under way during the block.

        Raises:
            OverloadedError: the name asks for too much; it says after how long it may ask again.
        """
        if self._rate is None and self._concurrency is None:
            yield
            return
        use = self._use(name)
        if self._concurrency is not None and use.running >= self._concurrency:
            raise OverloadedError(f"{_of(name)} has {use.running} requests under way, which is the most", BUSY_S)
        wait_s = self._take(use)
        if wait_s:
            raise OverloadedError(f"{_of(name)} may make {self._rate:g} requests a second", wait_s)
        use.running += 1
        try:
            yield
        finally:
            use.running -= 1

    def take(self, name: str) -> float:
        """Make a request of a name that is part of one under way.

        Returns:
            seconds after which it may be made, where it may not now, and then is not; 0 where it was.
        """
        return self._take(self._use(name))

    def _use(self, name: str) -> _Use:
        use = self._uses.get(name)
        if use is None:
            use = _Use(self._burst, self._clock())
            self._uses.put(name, use)
        return use

    def _take(self, use: _Use) -> float:
        if self._rate is None:
            return 0.0
        now_s = self._clock()
        use.left, use.at_s = min(self._burst, use.left + (now_s - use.at_s) * self._rate), now_s
        # Added up in floating point, a whole request may lack the last bit.
        if use.left < 1 - 1e-9:
            return (1 - use.left) / self._rate
        use.left -= 1
        return 0.0


def _of(name: str) -> str:
    return f"the token of {name}" if name else "everybody together"
