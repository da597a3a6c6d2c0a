"""The thread of a model, which several batchers may share."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager


class ModelThread:
    """The one thread that a model runs on. Batchers that share it take turns, first come, first served."""

    def __init__(self) -> None:
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._lock = asyncio.Lock()
        self._wanting = 0

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for the turn that somebody else has."""
        return self._wanting > 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have the thread to oneself during the block."""
        self._wanting += 1
        try:
            async with self._lock:
                yield
        finally:
            self._wanting -= 1

    def close(self) -> None:
        """Wait for what runs, and end the thread."""
        self.executor.shutdown()
