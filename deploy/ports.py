"""The ports of the three processes on this machine."""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from thinwire.addresses import MAX_PORT
from thinwire.errors import InvalidRequestError, UnavailableError

HOST = "127.0.0.1"
# Of each port in `Ports`: the option that names it, and what listens there.
OPTIONS = {
    "edge_rest": ("--port", "the edge's REST"),
    "edge_grpc": ("--edge-grpc-port", "the edge's gRPC"),
    "cloud_rest": ("--cloud-port", "the cloud's REST"),
    "cloud_grpc": ("--cloud-grpc-port", "the cloud's gRPC"),
    "channel_grpc": ("--link-port", "the channel's gRPC"),
    "channel_metrics": ("--metrics-port", "the channel's metrics"),
}


@dataclass(frozen=True)
class Ports:
    """Where the processes listen on this machine."""

    edge_rest: int = 8080
    edge_grpc: int = 8081
    channel_grpc: int = 50061
    cloud_grpc: int = 50051
    cloud_rest: int = 8000
    channel_metrics: int = 8061

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nothing listens on now."""
        return cls(0, 0, 0, 0, 0, 0).settled()

    def settled(self) -> "Ports":
        """These ports, with a free one in the place of each 0.

        Raises:
            InvalidRequestError: one is no port, or two are the same.
            UnavailableError: something listens on one, or this user may not.
        """
        given = {name: port for name in OPTIONS if (port := getattr(self, name))}
        users: dict[int, str] = {}
        for name, port in given.items():
            option = OPTIONS[name][0]
            if not 0 < port <= MAX_PORT:
                raise InvalidRequestError(f"{option} must be from 0 to {MAX_PORT}, got {port}")
            if port in users:
                raise InvalidRequestError(f"{users[port]} and {option} must differ, got {port} for both")
            users[port] = option
        with contextlib.ExitStack() as stack:
            # All held until the last is found, so that none is found twice.
            for name, port in given.items():
                stack.enter_context(_held(name, port))
            free = {name: stack.enter_context(_held(name, 0)) for name in OPTIONS if name not in given}
            return replace(self, **free)


@contextlib.contextmanager
def _held(name: str, port: int) -> Iterator[int]:
    """Listen on a port until the end of the block, and yield its number."""
    option, who = OPTIONS[name]
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UnavailableError(f"{who} cannot listen on {HOST}:{port} ({option}): {reason}") from None
    with listener:
        number = int(listener.getsockname()[1])
        if port == 0:
            # A connection that this end closes first leaves its port in TIME_WAIT, where the system gives it to nobody
            # who asks for any, and our servers, which ask for this one and set SO_REUSEADDR, get it.
            with socket.create_connection((HOST, number)) as other:
                listener.accept()[0].close()
                other.recv(1)
        yield number
