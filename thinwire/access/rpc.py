"""The gate in front of gRPC's methods."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import grpc
import grpc.aio

from thinwire import rpc
from thinwire.access.callers import AUTHORIZATION, ON_BEHALF
from thinwire.access.files import Reloaded
from thinwire.access.gate import Gate
from thinwire.access.tls import ClientTls, ServerTls
from thinwire.access.tokens import CONTROL, INFER, METRICS, PERMISSIONS
from thinwire.errors import ThinwireError
from thinwire.v1 import link_pb2

ANY = frozenset(PERMISSIONS)
# What tells no more than that there is somebody.
OPEN = (
    "/grpc.health.v1.Health/",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
)
_CONTROL = "/thinwire.v1.ChannelControl/"
_READS = frozenset((METRICS, CONTROL))
_ALLOWED = {
    f"{_CONTROL}GetProfile": _READS,
    f"{_CONTROL}ListLinks": _READS,
    f"{_CONTROL}SetProfile": frozenset((CONTROL,)),
}
_KINDS: dict[tuple[bool, bool], Callable[..., Any]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


# How long calls over a connection of before may go on when its certificate was replaced.
_LAST_S = 60.0


def open_server(services: Sequence[str], gate: Gate, tls: ServerTls | None = None) -> rpc.Server:
    """A server behind a gate; see `thinwire.rpc.Server`."""
    return rpc.Server(services, [Guard(gate)], tls.grpc_credentials() if tls else None)


class Peer:
    """The next process: a channel to it, which is another one when its TLS files have changed.

    Make it inside a running event loop.

    Args:
        target: ``host:port``; see `thinwire.rpc.open_channel`.
        tls: how; None for plain text.
        make_stub: makes what is called, of a channel.
    """

    def __init__(
        self, target: str, tls: ClientTls | None = None, make_stub: Callable[[grpc.aio.Channel], Any] = lambda _: None
    ) -> None:
        self._target, self._make_stub = target, make_stub

        def load() -> grpc.ChannelCredentials:
            assert tls is not None
            # gRPC takes anything, and then trusts nobody.
            tls.context()
            return tls.grpc_credentials()

        self._files = Reloaded(tls.paths, load, "the TLS files of the link") if tls else None
        self._credentials = self._files.current if self._files else None
        self._channel = rpc.open_channel(target, self._credentials)
        self._stub = make_stub(self._channel)
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def channel(self) -> grpc.aio.Channel:
        """For a call that begins now."""
        self._renew()
        return self._channel

    def _renew(self) -> None:
        if self._files is not None and (credentials := self._files.current) is not self._credentials:
            closing = asyncio.ensure_future(self._channel.close(_LAST_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
            self._credentials = credentials
            self._channel = rpc.open_channel(self._target, credentials)
            self._stub = self._make_stub(self._channel)

    @property
    def stub(self) -> Any:
        """What is called, likewise."""
        self._renew()
        return self._stub

    async def close(self) -> None:
        """Close it; calls under way are cancelled."""
        await self._channel.close()
        for closing in self._closing:
            closing.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)


def allowed(method: str) -> frozenset[str]:
    """Permissions of which a method needs one.

    Args:
        method: its full name, as ``/package.Service/Method``; one that is not known infers.
    """
    if method.startswith("/grpc.reflection."):
        return ANY
    if method.startswith(_CONTROL):
        return _ALLOWED.get(method, frozenset((CONTROL,)))
    return frozenset((INFER,))


def passed_on(metadata: Any, token: str | None) -> tuple[tuple[str, str], ...]:
    """What a hop in between tells the next one of who asks: what it was told itself, or else its own token."""
    told = {key: value for key, value in metadata or () if key in (AUTHORIZATION, ON_BEHALF)}
    if AUTHORIZATION not in told and token:
        told[AUTHORIZATION] = f"Bearer {token}"
    return tuple(told.items())


class Guard(grpc.aio.ServerInterceptor):
    """Lets calls through a gate, to all services of a server but health."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """See grpc.aio."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(OPEN):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        authorization = metadata.get(AUTHORIZATION)
        given = authorization if isinstance(authorization, str) else None
        kind = (bool(handler.request_streaming), bool(handler.response_streaming))
        behave = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        gate, needed, is_link = self._gate, allowed(method), method.startswith("/thinwire.v1.SemanticLink/")

        async def called(request: Any, context: Any) -> Any:
            with ExitStack() as stack:
                try:
                    who = stack.enter_context(gate.request(given, needed, method))
                except ThinwireError as error:
                    await rpc.abort(context, error)
                if kind[0] and is_link:
                    request = _paced(request, gate, who.name)
                answer = behave(request, context)
                if not hasattr(answer, "__aiter__"):
                    return await answer
                async for one in answer:
                    await context.write(one)
                return None

        return _KINDS[kind](called, handler.request_deserializer, handler.response_serializer)


async def _paced(frames: AsyncIterator[link_pb2.Frame], gate: Gate, name: str) -> AsyncIterator[link_pb2.Frame]:
    """Frames of one call, read no faster than their sender may ask."""
    async for frame in frames:
        while wait_s := gate.limits.take(name):
            await asyncio.sleep(wait_s)
        yield frame
