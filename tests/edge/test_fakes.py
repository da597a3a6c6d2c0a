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
        # Whatever was forwarded before, and then the end, however it comes.
        connection.settimeout(60)
        with contextlib.suppress(ConnectionResetError):
            while await asyncio.to_thread(connection.recv, 65536):
                pass
