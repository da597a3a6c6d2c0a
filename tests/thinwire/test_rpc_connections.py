"""Connections of `thinwire.rpc` that stay silent for long, and those of a process that has a proxy for the web."""

import asyncio
import contextlib

import grpc
import grpc.aio

from thinwire import rpc
from thinwire.v1 import link_pb2, link_pb2_grpc


class Cloud(link_pb2_grpc.SemanticLinkServicer):
    """Answers after so many seconds."""

    def __init__(self, delay_s):
        self.delay_s = delay_s

    async def Infer(self, request, context):  # noqa: N802
        await asyncio.sleep(self.delay_s)
        return link_pb2.Result(link_id="at last")


@contextlib.asynccontextmanager
async def serving(delay_s=0.0):
    server = rpc.Server(())
    link_pb2_grpc.add_SemanticLinkServicer_to_server(Cloud(delay_s), server.grpc_server)
    try:
        yield f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    finally:
        await server.stop(0)


async def answer_over(channel):
    result = await link_pb2_grpc.SemanticLinkStub(channel).Infer(link_pb2.Frame(), timeout=20)
    return result.link_id


async def test_pings_during_a_long_silent_call_are_no_abuse(monkeypatch):
    # gRPC pings once a second at most. Three pings that the server takes for too early end the connection, which our
    # own channels, that hold back all but two, would meet after four minutes.
    monkeypatch.setattr(rpc, "KEEPALIVE_MS", 1000)
    often = [("grpc.keepalive_time_ms", rpc.KEEPALIVE_MS), ("grpc.http2.max_pings_without_data", 0)]
    async with serving(delay_s=5.5) as target, grpc.aio.insecure_channel(target, often) as channel:
        assert await answer_over(channel) == "at last"


# A client as bare as HTTP/2 allows (RFC 9113): its preface and empty settings, then pings.
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0"
PING, GOAWAY, ACK = 6, 7, 1


async def ping(reader, writer):
    """Send a ping and return the name of what ends the connection; "" once the ping comes back."""
    writer.write(b"\0\0\x08" + bytes([PING]) + b"\0\0\0\0\0" + b"thinwire")
    while True:
        head = await asyncio.wait_for(reader.readexactly(9), 20)
        body = await reader.readexactly(int.from_bytes(head[:3], "big"))
        if head[3] == GOAWAY:
            return body[8:].decode()
        # gRPC pings its peers, too.
        if (head[3], head[4], body) == (PING, ACK, b"thinwire"):
            return ""


async def pings(target, pause_s):
    """What ends a connection without any call, that is pinged for ten times; "" if nothing does."""
    reader, writer = await asyncio.open_connection(*target.rsplit(":", 1))
    writer.write(HELLO)
    try:
        for _ in range(10):
            if ended := await ping(reader, writer):
                return ended
            await asyncio.sleep(pause_s)
        return ""
    finally:
        writer.close()
        await writer.wait_closed()


async def test_pings_without_a_call_are_no_abuse(monkeypatch):
    # A floor of 10 ms, and pings that are further apart.
    monkeypatch.setattr(rpc, "KEEPALIVE_MS", 60)
    async with serving() as target:
        assert await pings(target, 0.03) == ""


async def test_pings_more_often_than_every_few_seconds_are_abuse_still():
    async with serving() as target:
        assert await pings(target, 0.0) == "too_many_pings"


async def test_a_proxy_for_the_web_does_not_stand_in_the_link(monkeypatch):
    for name in ("no_grpc_proxy", "no_proxy", "grpc_proxy", "https_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving() as target, rpc.open_channel(target) as channel:
        assert await answer_over(channel) == "at last"
