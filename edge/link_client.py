"""The device's end of the link: frames out, results in, over one gRPC channel."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from thinwire import rpc, tracing
from thinwire.errors import DeadlineError, ThinwireError, UnavailableError
from thinwire.frames import frame_key
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)
# gRPC itself sends again what got no response headers; this is for a connection that dies after them.
ATTEMPTS = 2
BACKOFF_S = 0.1
# How long a stream goes on sending a frame over a link that is down: long enough for a peer to be restarted.
STREAM_PATIENCE_S = 15.0
# A write to a stream that has just died makes INTERNAL of whatever it died of.
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.INTERNAL)

FrameKey = tuple[str, str, int]
Item = link_pb2.Result | tuple[FrameKey, ThinwireError]


@dataclass
class _Sent:
    frame: link_pb2.Frame
    failed_s: float | None = None


class _BrokenError(UnavailableError):
    """The connection died. When the peer itself says that it is unavailable, it has tried again already."""


class LinkClient:
    """Speaks `thinwire.v1.SemanticLink` to a proxy or to the cloud. Create it inside a running event loop.

    Args:
        target: the peer as ``host:port``.
    """

    def __init__(self, target: str) -> None:
        self._channel = rpc.open_channel(target)
        # The stubs for grpcio are typed for the synchronous API only.
        self._link: Any = link_pb2_grpc.SemanticLinkStub(self._channel)  # type: ignore[no-untyped-call]
        self._health: Any = health_pb2_grpc.HealthStub(self._channel)

    async def infer(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        """Send one frame and wait for its result.

        A frame that meets a dead link is sent again with the same ids, so that it meets the same noise and is
        answered once.

        Args:
            frame: the frame.
            timeout_s: seconds for all attempts together; the peer sees what is left as the call's deadline.

        Raises:
            UnavailableError: the peer does not answer, or keeps dying.
            DeadlineError: the time ran out.
            ThinwireError: whatever the peer answered with.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with tracing.span("link", tracing.CLIENT, attempt=attempt):
                    result: link_pb2.Result = await self._link.Infer(
                        frame, timeout=deadline - loop.time(), metadata=tracing.outgoing()
                    )
                return result
            except grpc.aio.AioRpcError as error:
                failure = _from_rpc_error(error)
                worth_it = isinstance(failure, _BrokenError) and loop.time() + BACKOFF_S < deadline
                if not worth_it or attempt == ATTEMPTS:
                    raise failure from None
            await asyncio.sleep(BACKOFF_S)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def stream(self, frames: AsyncIterator[link_pb2.Frame]) -> AsyncGenerator[Item]:
        """Send frames as they come, over one call.

        Every frame gets exactly one item, in the order in which they are ready. When the call dies, a new one takes
        over and the frames without an answer are sent again; those that still have none `STREAM_PATIENCE_S` after
        their first failure get the error, and the stream goes on. Two frames of one key must not be under way together.

        Yields:
            a result, or a frame's key (link, request, sequence) and its error.
        """
        queue: asyncio.Queue[link_pb2.Frame | None] = asyncio.Queue(1)
        feeder = asyncio.create_task(_feed(frames, queue))
        unanswered: dict[FrameKey, _Sent] = {}
        try:
            while True:
                if not unanswered:
                    # A call is opened for a frame at hand: an idle stream over a dead link would fail for nothing.
                    frame = await queue.get()
                    if frame is None:
                        break
                    unanswered[frame_key(frame)] = _Sent(frame)
                try:
                    async with aclosing(self._exchange(queue, unanswered)) as items:
                        async for item in items:
                            yield item
                except ThinwireError as error:
                    log.warning("the stream broke", extra={"frames": len(unanswered), "detail": str(error)})
                    for item in _give_up(unanswered, error):
                        yield item
                    await asyncio.sleep(BACKOFF_S)
            # The frames may have ended with an exception: it is the caller's.
            await feeder
        finally:
            await _end(feeder)

    async def _exchange(
        self, queue: asyncio.Queue[link_pb2.Frame | None], unanswered: dict[FrameKey, _Sent]
    ) -> AsyncGenerator[Item]:
        """One call: what is unanswered, then the queue; ends when the peer ends it."""
        call = self._link.Stream()
        writer = asyncio.create_task(_write(call, queue, unanswered))
        try:
            async for result in call:
                key = _result_key(result)
                if unanswered.pop(key, None) is None:
                    continue
                if result.HasField("problem"):
                    yield key, rpc.from_problem(result.problem.code, result.problem.detail)
                else:
                    yield result
            if unanswered:
                raise _BrokenError("the peer ended the stream before its last result")
        except grpc.aio.AioRpcError as error:
            raise _from_rpc_error(error) from None
        finally:
            call.cancel()
            await _end(writer)

    async def is_healthy(self, timeout_s: float) -> bool:
        """Whether the peer says within ``timeout_s`` seconds that it serves."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def close(self) -> None:
        """Close the channel; calls under way are cancelled."""
        await self._channel.close()


class LinkStream:
    """One stream that several tasks send over, each waiting for its own result. Create it inside a running event loop.

    Args:
        client: the link.
    """

    def __init__(self, client: LinkClient) -> None:
        self._frames: asyncio.Queue[link_pb2.Frame] = asyncio.Queue()
        self._waiting: dict[FrameKey, asyncio.Future[link_pb2.Result]] = {}
        self._receiver = asyncio.create_task(self._receive(client))

    async def send(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        """Send one frame and wait for its result.

        Raises:
            DeadlineError: it did not come within ``timeout_s`` seconds.
            UnavailableError: the link is down, or the stream was closed.
            ThinwireError: whatever the peer answered with.
        """
        with tracing.span("link", tracing.CLIENT):
            frame.traceparent = tracing.traceparent()
            return await self._send(frame, timeout_s)

    async def _send(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        answer: asyncio.Future[link_pb2.Result] = asyncio.get_running_loop().create_future()
        self._waiting[frame_key(frame)] = answer
        self._frames.put_nowait(frame)
        either: set[asyncio.Future[Any]] = {answer, self._receiver}
        try:
            await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._waiting[frame_key(frame)]
        if answer.done():
            return answer.result()
        if self._receiver.done():
            raise UnavailableError("the stream is closed")
        raise DeadlineError("the link did not answer in time")

    async def _outgoing(self) -> AsyncGenerator[link_pb2.Frame]:
        while True:
            yield await self._frames.get()

    async def _receive(self, client: LinkClient) -> None:
        async with aclosing(client.stream(self._outgoing())) as items:
            async for item in items:
                key = item[0] if isinstance(item, tuple) else _result_key(item)
                answer = self._waiting.get(key)
                # Whoever sent it may have stopped waiting.
                if answer is None:
                    continue
                if isinstance(item, tuple):
                    answer.set_exception(item[1])
                else:
                    answer.set_result(item)

    async def close(self) -> None:
        """End the call; whoever still waits gets an error."""
        await _end(self._receiver)


def _from_rpc_error(error: grpc.aio.AioRpcError) -> ThinwireError:
    said_by_peer = rpc.ERROR_METADATA in dict(error.trailing_metadata() or ())
    if error.code() in _BROKEN and not said_by_peer:
        return _BrokenError(error.details() or "the link broke")
    return rpc.from_rpc_error(error)


def _result_key(result: link_pb2.Result) -> FrameKey:
    return result.link_id, result.request_id, result.sequence_number


def _give_up(unanswered: dict[FrameKey, _Sent], error: ThinwireError) -> list[Item]:
    """Take out the frames that are not worth sending again."""
    now_s = asyncio.get_running_loop().time()
    hopeless = []
    for key, sent in unanswered.items():
        if sent.failed_s is None:
            sent.failed_s = now_s
        if now_s - sent.failed_s >= STREAM_PATIENCE_S or not isinstance(error, _BrokenError):
            hopeless.append(key)
    for key in hopeless:
        del unanswered[key]
    return [(key, error) for key in hopeless]


async def _feed(frames: AsyncIterator[link_pb2.Frame], queue: asyncio.Queue[link_pb2.Frame | None]) -> None:
    # A queue stands between, because a call that dies would take an async generator that it reads with it.
    try:
        async for frame in frames:
            await queue.put(frame)
    except Exception:
        await queue.put(None)
        raise
    await queue.put(None)


async def _write(call: Any, queue: asyncio.Queue[link_pb2.Frame | None], unanswered: dict[FrameKey, _Sent]) -> None:
    try:
        for sent in list(unanswered.values()):
            await call.write(sent.frame)
        while (frame := await queue.get()) is not None:
            unanswered[frame_key(frame)] = _Sent(frame)
            await call.write(frame)
        # The end must also reach a call that takes over from this one.
        queue.put_nowait(None)
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The reader of the same call learns why.
        return


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
