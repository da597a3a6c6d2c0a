"""The device's end of the link: frames out, results in, over one gRPC channel."""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio

from edge.outbox import FrameKey, Outbox, Sent
from thinwire import rpc, tracing
from thinwire.access import ClientTls, caller
from thinwire.access.callers import vouched
from thinwire.access.rpc import Peer
from thinwire.access.security import TOKEN_VARIABLE, bearer
from thinwire.errors import (
    ForbiddenError,
    FrameLostError,
    OverloadedError,
    ThinwireError,
    UnauthenticatedError,
    UnavailableError,
)
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)
SERVICE = link_pb2.DESCRIPTOR.services_by_name["SemanticLink"].full_name
# gRPC itself sends again what got no response headers; this is for a connection that dies after them.
ATTEMPTS = 2
BACKOFF_S = 0.1
# Of a frame that the link keeps losing: at a loss of a half, one in 65,536 frames is given up.
TRANSMISSIONS = 16
# Of a frame that an overloaded peer refuses. Each occupies the channel, and adds to the load.
OFFERS = 3
# How long a stream goes on sending a frame over a link that is down: long enough for a peer to be restarted.
STREAM_PATIENCE_S = 15.0
# A write to a stream that has just died makes INTERNAL of whatever it died of.
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)

Item = link_pb2.Result | tuple[FrameKey, ThinwireError]


class _BrokenError(UnavailableError):
    """The connection died. When the peer itself says that it is unavailable, it has tried again already."""


class LinkClient:
    """Speaks `thinwire.v1.SemanticLink` to a proxy or to the cloud. Create it inside a running event loop.

    Args:
        target: the peer as ``host:port``.
        tls: how; None for plain text.
        token: shown to the peer; None: nothing is.
    """

    def __init__(self, target: str, tls: ClientTls | None = None, token: str | None = None) -> None:
        # The stubs for grpcio are typed for the synchronous API only.
        self._peer = Peer(target, tls, link_pb2_grpc.SemanticLinkStub)
        self._token = bearer(token)

    async def infer(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        """Send one frame and wait for its result.

        A frame that is lost on the air or meets a dead link is sent again with the same ids, so that it meets the same
        noise and is answered once. So is one that an overloaded peer refuses, `OFFERS` times at most, after the time
        that the peer asks for, if the request has so long.

        Args:
            frame: the frame.
            timeout_s: seconds for all attempts together; the peer sees what is left as the call's deadline.

        Raises:
            FrameLostError: it was lost `TRANSMISSIONS` times.
            OverloadedError: the peer takes no more, now and by the deadline.
            UnavailableError: the peer does not answer, or keeps dying.
            DeadlineError: the time ran out.
            ThinwireError: whatever the peer answered with.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        lost = broken = refused = 0
        shown = (*self._token, *vouched(caller(), frame.link_id, frame.request_id))
        while True:
            try:
                with tracing.span("link", tracing.CLIENT, attempt=lost + broken + refused + 1):
                    result: link_pb2.Result = await self._peer.stub.Infer(
                        frame, timeout=deadline - loop.time(), metadata=(*tracing.outgoing(), *shown)
                    )
                return result
            except grpc.aio.AioRpcError as error:
                failure = _from_rpc_error(error)
            if isinstance(failure, FrameLostError):
                lost += 1
                if lost == TRANSMISSIONS:
                    raise _given_up()
                continue
            if isinstance(failure, OverloadedError):
                refused += 1
                pause_s = _pause_s(failure, refused)
                if refused == OFFERS or loop.time() + pause_s >= deadline:
                    raise failure
                await asyncio.sleep(pause_s)
                continue
            broken += 1
            worth_it = isinstance(failure, _BrokenError) and loop.time() + BACKOFF_S < deadline
            if not worth_it or broken == ATTEMPTS:
                raise failure
            await asyncio.sleep(BACKOFF_S)

    async def stream(
        self, frames: AsyncIterator[link_pb2.Frame], wanted: Callable[[FrameKey], bool] = lambda _: True
    ) -> AsyncGenerator[Item]:
        """Send frames as they come, over one call.

        Every frame gets exactly one item, in the order in which they are ready. A frame that is lost on the air is sent
        again while others go on, `TRANSMISSIONS` times at most; one that is refused, as by `infer`. When the call dies,
        a new one takes over and the frames without an answer are sent again, and so is a frame that the peer finds no
        cloud for; those that still have no answer `STREAM_PATIENCE_S` after their first failure get the error, and the
        stream goes on. Two frames of one key must not be under way together.

        Args:
            frames: the frames; they may come for as long as they like.
            wanted: asked before a frame is sent again, by its key; what nobody waits for is given up.

        Yields:
            a result, or a frame's key (link, request, sequence) and its error.
        """
        outbox = Outbox(frames)
        try:
            # A call is opened for a frame at hand: an idle stream over a dead link would fail for nothing.
            while outbox.unanswered or await outbox.take() is not None:
                try:
                    async with aclosing(self._exchange(outbox, wanted)) as items:
                        async for item in items:
                            yield item
                except ThinwireError as error:
                    log.warning("the stream broke", extra={"frames": len(outbox.unanswered), "detail": str(error)})
                    for item in _give_up(outbox, error, wanted):
                        yield item
                    await asyncio.sleep(BACKOFF_S)
            # The frames may have ended with an exception: it is the caller's.
            await outbox.check()
        finally:
            await outbox.close()

    async def _exchange(self, outbox: Outbox, wanted: Callable[[FrameKey], bool]) -> AsyncGenerator[Item]:
        """One call: what is unanswered, then what the outbox gives; ends when the peer ends it."""
        call = self._peer.stub.Stream(metadata=self._token)
        writer = asyncio.create_task(_write(call, outbox))
        try:
            async for result in call:
                key = result_key(result)
                sent = outbox.unanswered.get(key)
                if sent is None:
                    continue
                problem = result.problem if result.HasField("problem") else None
                error = problem and rpc.from_problem(problem)
                if isinstance(error, FrameLostError):
                    sent.losses += 1
                    if sent.losses < TRANSMISSIONS and wanted(key):
                        outbox.repeat(key)
                        continue
                    error = _given_up()
                if isinstance(error, OverloadedError):
                    sent.refusals += 1
                    if sent.refusals < OFFERS and wanted(key):
                        outbox.repeat_later(key, _pause_s(error, sent.refusals))
                        continue
                # The proxy lives and its cloud does not: to the frame that is a link that is down like any other.
                if isinstance(error, UnavailableError) and _in_time(sent) and wanted(key):
                    outbox.repeat_later(key, BACKOFF_S)
                    continue
                outbox.drop(key)
                yield (key, error) if error else result
            if outbox.unanswered:
                raise _BrokenError("the peer ended the stream before its last result")
        except grpc.aio.AioRpcError as error:
            raise _from_rpc_error(error) from None
        finally:
            call.cancel()
            await end(writer)

    async def is_healthy(self, timeout_s: float) -> bool:
        """Whether the peer says within ``timeout_s`` seconds that it serves; a proxy does not without its cloud."""
        return await rpc.is_serving(self._peer.channel, SERVICE, timeout_s)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._peer.close()


def _from_rpc_error(error: grpc.aio.AioRpcError) -> ThinwireError:
    said_by_peer = rpc.ERROR_METADATA in dict(error.trailing_metadata() or ())
    if error.code() in _BROKEN and not said_by_peer:
        return _BrokenError(error.details() or "the link broke")
    found = rpc.from_rpc_error(error)
    if isinstance(found, UnauthenticatedError | ForbiddenError):
        # Not the caller's token but the device's own: the caller can do nothing about it.
        return UnavailableError(f"the link refuses this device ({TOKEN_VARIABLE}): {found}")
    return found


def result_key(result: link_pb2.Result) -> FrameKey:
    """The key of the frame that a result answers."""
    return result.link_id, result.request_id, result.sequence_number


def _given_up() -> FrameLostError:
    return FrameLostError(f"the frame was lost on the air {TRANSMISSIONS} times")


def _pause_s(error: OverloadedError, refusals: int) -> float:
    """How long to stay away: twice as long each time, and not all for the same time."""
    return float((error.retry_after_s or BACKOFF_S) * 2 ** (refusals - 1) * random.uniform(1.0, 1.5))


def _in_time(sent: Sent) -> bool:
    """Whether a frame that has just met a dead link may still be sent again; its first failure is kept."""
    now_s = asyncio.get_running_loop().time()
    if sent.failed_s is None:
        sent.failed_s = now_s
    return now_s - sent.failed_s < STREAM_PATIENCE_S


def _give_up(outbox: Outbox, error: ThinwireError, wanted: Callable[[FrameKey], bool]) -> list[Item]:
    """Take out the frames that are not worth sending again."""
    hopeless = [
        key
        for key, sent in outbox.unanswered.items()
        if not _in_time(sent) or not isinstance(error, _BrokenError) or not wanted(key)
    ]
    for key in hopeless:
        outbox.drop(key)
    return [(key, error) for key in hopeless]


async def _write(call: Any, outbox: Outbox) -> None:
    try:
        for frame in outbox.take_over():
            await call.write(frame)
        while (next_frame := await outbox.take()) is not None:
            await call.write(next_frame)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The reader of the same call learns why.
        return


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task and wait until it has ended, however it does."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
