"""The relay of these tests keeps no connection that comes just as it ends."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest

from tests.edge.fakes import Relay


@pytest.mark.parametrize("turns", range(8))
async def test_a_connection_that_comes_as_the_relay_ends_is_closed(cloud: Any, turns: int) -> None:
    relay = Relay(cloud.port)
    await relay.start()
    with socket.create_connection(("127.0.0.1", relay.port)) as connection:
        for _ in range(turns):
            await asyncio.sleep(0)
        await relay.stop()
        connection.settimeout(60)
        # Its end, however it comes: what is left open would be found by tests/leaks.py, too.
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.to_thread(connection.recv, 1) == b""
