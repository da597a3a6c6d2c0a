"""What a process remembers for a while: bounded in number, memory and age."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Memory(Generic[K, V]):
    """Values by key; where there is no room for all, the least recently used one gives way first.

    Nothing in here waits, so that no two callers of one event loop meet halfway.

    Args:
        max_count: most values.
        max_bytes: most memory of all values together; one that needs more is not kept at all.
        max_age_s: seconds for which a value is kept after it was put, however often it is used.
        size: the memory that a value takes, in bytes.
        clock: seconds from any origin.
        on_drop: told of each value that is kept no longer, by its key.
    """

    def __init__(
        self,
        max_count: int,
        max_bytes: float = math.inf,
        max_age_s: float = math.inf,
        size: Callable[[V], int] = lambda value: 0,
        clock: Callable[[], float] = time.monotonic,
        on_drop: Callable[[K], None] = lambda key: None,
    ) -> None:
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._max_age_s = max_age_s
        self._size = size
        self._clock = clock
        self._on_drop = on_drop
        # In the order of use.
        self._values: OrderedDict[K, V] = OrderedDict()
        # When each ends, in that order, since all live equally long.
        self._ends_s: OrderedDict[K, float] = OrderedDict()
        self._sizes: dict[K, int] = {}
        self._nbytes = 0

    def __len__(self) -> int:
        """How many values are kept, some of which may be past their time."""
        return len(self._values)

    @property
    def nbytes(self) -> int:
        """Memory of all values."""
        return self._nbytes

    @property
    def ends_s(self) -> float:
        """When the oldest value will be past its time, by the clock."""
        return next(iter(self._ends_s.values()), math.inf)

    def get(self, key: K) -> V | None:
        """What is kept under a key, which counts as a use."""
        self.trim()
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value in place of any other of this key."""
        self.pop(key)
        nbytes = self._size(value)
        if nbytes > self._max_bytes:
            return
        self._values[key], self._sizes[key] = value, nbytes
        self._ends_s[key] = self._clock() + self._max_age_s
        self._nbytes += nbytes
        self.trim()

    def pop(self, key: K) -> V | None:
        """Keep a value no longer, and return it."""
        value = self._values.pop(key, None)
        if value is not None:
            del self._ends_s[key]
            self._nbytes -= self._sizes.pop(key)
            self._on_drop(key)
        return value

    def values(self) -> dict[K, V]:
        """All values by key, the least recently used first."""
        return dict(self._values)

    def trim(self, max_count: int | None = None) -> None:
        """Drop what is past its time, and what is too much: beyond ``max_count`` values where it is given."""
        most = self._max_count if max_count is None else max_count
        while self._values and self.ends_s <= self._clock():
            self.pop(next(iter(self._ends_s)))
        while len(self._values) > most or self._nbytes > self._max_bytes:
            self.pop(next(iter(self._values)))

    def clear(self) -> None:
        """Keep nothing."""
        for key in list(self._values):
            self.pop(key)
