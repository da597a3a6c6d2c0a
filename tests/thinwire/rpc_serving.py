"""A server of `thinwire.rpc` that answers as a test wants, and calls of it that fail."""

import contextlib

import grpc
import grpc.aio
import pytest

from thinwire.rpc import (
    Server,
    open_channel,
)
from thinwire.v1 import link_pb2, link_pb2_grpc

LINK = "thinwire.v1.SemanticLink"


class Cloud(link_pb2_grpc.SemanticLinkServicer):
    """Answers with whatever ``answer`` does."""

    def __init__(self):
        self.calls = 0
        self.answer = None

    async def Infer(self, request, context):  # noqa: N802
        self.calls += 1
        return await self.answer(request, context)


@contextlib.asynccontextmanager
async def serving(*services):
    server, cloud = Server(services), Cloud()
    link_pb2_grpc.add_SemanticLinkServicer_to_server(cloud, server.grpc_server)
    port = await server.start("127.0.0.1:0")
    try:
        async with open_channel(f"127.0.0.1:{port}") as channel:
            yield server, cloud, channel
    finally:
        await server.stop(0)


async def failure(served, frame=None, timeout=20.0):
    """The error that a call ends in."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await link_pb2_grpc.SemanticLinkStub(served[2]).Infer(frame or link_pb2.Frame(), timeout=timeout)
    return caught.value
