"""A bare ``grpc.aio`` server that answers each call with the bytes that came: the bound of what a service can do.

``python -m experiments.service.bare_echo HOST:PORT [HOST:PORT]`` serves until it is terminated; with a second address,
it passes each call on there, and the answer back.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import Any

import grpc
import grpc.aio

from deploy.ports import HOST, Ports

METHOD = "/experiments.Echo/Echo"
START_TIMEOUT_S = 30.0


async def serve(address: str, upstream: str | None = None) -> None:
    """Serve until cancelled, by answering, or by passing on."""
    call: Any = None if upstream is None else grpc.aio.insecure_channel(upstream).unary_unary(METHOD)

    async def echo(request: bytes, _: object) -> bytes:
        answer: bytes = request if call is None else await call(request)
        return answer

    await serve_bare(address, METHOD, grpc.unary_unary_rpc_method_handler(echo))


async def serve_bare(address: str, method: str, handler: Any) -> None:
    """Serve one method until cancelled."""
    service, _, name = method[1:].rpartition("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: handler}),))
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


@contextmanager
def bare_server(name: str, *arguments: str) -> Iterator[str]:
    """A server as a process: its ``host:port``.

    Args:
        name: of the module here that is run, with its address as the first argument.
        arguments: further ones.
    """
    address = f"{HOST}:{Ports.free().cloud_grpc}"
    with TemporaryFile() as log:
        process = subprocess.Popen([sys.executable, "-m", f"{__package__}.{name}", address, *arguments], stderr=log)
        try:
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(START_TIMEOUT_S)
            yield address
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(*sys.argv[1:]))
