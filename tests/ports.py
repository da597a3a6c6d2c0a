"""Ports that stay a test's own while nothing listens there."""

import contextlib
import socket
from collections.abc import Iterator


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port of 127.0.0.1, held bound and not listening during the block.

    Connections to it are refused, and nobody who asks for any free port is given it. Whoever asks for it by its number
    and sets SO_REUSEADDR gets it, as gRPC's servers, uvicorn's and prometheus_client's do.
    """
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
