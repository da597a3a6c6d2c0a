"""A bare ``grpc.aio`` server that answers each call with the bytes that came: the bound of what a service can do.

``python -m experiments.speed.echo HOST:PORT [HOST:PORT]`` serves until it is terminated; with a second address, it passes each
call on there, and the answer back.
"""

import asyncio
import subprocess
import sys
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from deploy.testbed import HOST, Ports

MODULE = "experiments.speed.echo"
METHOD = "/experiments.Echo/Echo"
START_TIMEOUT_S = 30.0


async def serve(address: str, upstream: str | None = None) -> None:
    """Serve until cancelled, by answering, or by passing on."""
    call = None if upstream is None else grpc.aio.insecure_channel(upstream).unary_unary(METHOD)

    async def echo(request: bytes, _: object) -> bytes:
        answer: bytes = request if call is None else await call(request)
        return answer

    handlers = grpc.method_handlers_generic_handler(
        "experiments.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handlers,))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


class BareServer:
    """A bare server as a process; a context manager.

    Args:
        module: to run, with its address as the first argument.
        arguments: further ones.

    Attributes:
        address: ``host:port``.
    """

    def __init__(self, module: str, *arguments: str) -> None:
        self.address = f"{HOST}:{Ports.free().cloud_grpc}"
        self._command = [sys.executable, "-m", module, self.address, *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command)
        end_s = time.monotonic() + START_TIMEOUT_S
        with grpc.insecure_channel(self.address) as channel:
            grpc.channel_ready_future(channel).result(end_s - time.monotonic())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(*sys.argv[1:]))
