"""What the cloud keeps of frames for a while: bounded in age, number and memory."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    """

    content: bytes
    value: R


class HeldFrames(Generic[R]):
    """Values by `thinwire.frames.frame_key`, in a `Memory` whose values are freed when their time is up.

    For one event loop, by whose clock they age.

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
        self._timer: asyncio.TimerHandle | None = None
        self._by_id: dict[str, list[Key]] = {}

    def __len__(self) -> int:
        return len(self._memory)

    @property
    def nbytes(self) -> int:
        """Memory of all values."""
        return self._memory.nbytes

    def get(self, key: Key) -> Held[R] | None:
        """What is kept of a frame, which counts as a use."""
        return self._memory.get(key)

    def find(self, name: str) -> R | None:
        """The value of the frame of this `thinwire.frames.frame_id`, which counts as a use."""
        keys = self._by_id.get(name)
        # Links may give frames one name; the latest counts.
        held = self.get(keys[-1]) if keys else None
        return None if held is None else held.value

    def put(self, key: Key, content: bytes, value: R) -> None:
        """Keep a value in place of any other of this frame."""
        # Named first: what does not fit is dropped within.
        self._memory.pop(key)
        self._by_id.setdefault(frame_id(*key[1:]), []).append(key)
        self._memory.put(key, Held(content, value))
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
        if not keys:
            self._by_id.pop(name, None)
