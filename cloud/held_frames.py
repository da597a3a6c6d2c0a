"""What the cloud keeps of frames for a while: bounded in age, number and memory."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from thinwire.frames import frame_id

R = TypeVar("R")
Key = tuple[str, str, int]


@dataclass(frozen=True)
class Held(Generic[R]):
    """What is kept of one frame.

    Attributes:
        content: digest of what came.
        value: what was made of it.
        nbytes: memory that it takes.
        expires_s: when it ends, by the event loop's clock.
    """

    content: bytes
    value: R
    nbytes: int
    expires_s: float


class HeldFrames(Generic[R]):
    """Values by `thinwire.frames.frame_key`; the least recently used one gives way first.

    For one event loop: nothing in here waits, so that no two callers meet halfway.

    Args:
        max_frames: most values.
        max_age_s: how long a value is kept after it came, in seconds, however often it is used. Its memory is freed
            then, whether or not anybody asks.
        max_bytes: most memory of all values together; one that needs more is not kept at all.
        size: the memory that a value takes, in bytes.
    """

    def __init__(self, max_frames: int, max_age_s: float, max_bytes: int, size: Callable[[R], int]) -> None:
        self._max_frames = max_frames
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._size = size
        # In the order of use.
        self._held: dict[Key, Held[R]] = {}
        # In the order of coming, and so of ending: one timer, that of the first, does for all.
        self._ages: dict[Key, Held[R]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._by_id: dict[str, list[Key]] = {}
        self._nbytes = 0

    def __len__(self) -> int:
        return len(self._held)

    @property
    def nbytes(self) -> int:
        """Memory of all values."""
        return self._nbytes

    def get(self, key: Key) -> Held[R] | None:
        """What is kept of a frame, which counts as a use."""
        held = self._held.pop(key, None)
        if held is not None:
            self._held[key] = held
        return held

    def find(self, name: str) -> R | None:
        """The value of the frame of this `thinwire.frames.frame_id`, which counts as a use."""
        keys = self._by_id.get(name)
        # Links may give frames one name; the latest counts.
        held = self.get(keys[-1]) if keys else None
        return None if held is None else held.value

    def put(self, key: Key, content: bytes, value: R) -> None:
        """Keep a value in place of any other of this frame."""
        self._drop(key)
        nbytes = self._size(value)
        if nbytes > self._max_bytes:
            return
        loop = asyncio.get_running_loop()
        self._held[key] = self._ages[key] = Held(content, value, nbytes, loop.time() + self._max_age_s)
        if self._timer is None:
            self._timer = loop.call_later(self._max_age_s, self._expire)
        self._by_id.setdefault(frame_id(*key[1:]), []).append(key)
        self._nbytes += nbytes
        while len(self._held) > self._max_frames or self._nbytes > self._max_bytes:
            self._drop(next(iter(self._held)))

    def clear(self) -> None:
        """Keep nothing."""
        for key in list(self._held):
            self._drop(key)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        """Drop what is too old, and come again when the next will be."""
        loop, self._timer = asyncio.get_running_loop(), None
        while self._ages:
            key, oldest = next(iter(self._ages.items()))
            if oldest.expires_s > loop.time():
                self._timer = loop.call_at(oldest.expires_s, self._expire)
                return
            self._drop(key)

    def _drop(self, key: Key) -> None:
        held = self._held.pop(key, None)
        if held is None:
            return
        del self._ages[key]
        self._nbytes -= held.nbytes
        name = frame_id(*key[1:])
        self._by_id[name].remove(key)
        if not self._by_id[name]:
            del self._by_id[name]
