"""The life of a process that serves until it is told to stop."""

import asyncio
import signal
from typing import Any, Protocol

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Service(Protocol):
    """What `run` starts and stops."""

    async def start(self) -> Any:
        """Serve."""

    async def stop(self) -> None:
        """Finish what is under way, and end."""


async def run(service: Service) -> None:
    """Serve until SIGTERM or SIGINT, then drain. A second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    try:
        await service.start()
        await stopping.wait()
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
        await service.stop()
