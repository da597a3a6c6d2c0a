"""The proxy: the cloud's own service, with a channel in front of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry, Counter, Gauge

from channel.links import CarriedFrames, LinkTable
from channel.transmission import is_lost, transmit
from thinwire import tracing
from thinwire.access import Gate
from thinwire.access.rpc import passed_on
from thinwire.errors import FrameLostError, ThinwireError, UnknownLinkError
from thinwire.frame_stream import MAX_IN_FLIGHT, Context, answer_each
from thinwire.frames import check_link_id, frame_key, identified
from thinwire.metrics import FrameSnr, Outcomes, Stages
from thinwire.rpc import ERROR_METADATA, abort, error_metadata, from_rpc_error, to_problem
from thinwire.v1 import link_pb2, link_pb2_grpc

# The proxy has already tried again, or tells the sender to: gRPC's own retry in the client would send the frame into
# the channel unseen.
_NO_RETRY = ("grpc-retry-pushback-ms", "-1")


class ChannelMetrics:
    """What one proxy counts. A frame that comes again is another frame here: it is sent again.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "channel", self.registry)
        self._in_flight = Gauge("thinwire_frames_in_flight", "Frames without an answer yet", registry=self.registry)
        uses = Counter("thinwire_channel_uses", "Channel uses by part", ["part"], registry=self.registry)
        self._payload, self._pilots, self._side_information = (
            uses.labels(part) for part in ("payload", "pilots", "side_information")
        )
        self._airtime = Counter(
            "thinwire_airtime_seconds", "Time that frames occupied the channel", registry=self.registry
        )
        self._snr = FrameSnr(self.registry)
        self._stages = Stages("channel", ("channel", "upstream"), self.registry)

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Count a frame, in flight during the block and then by how it ends."""
        with self.frames.counting(), self._in_flight.track_inprogress():
            yield

    def observe_transmission(self, report: link_pb2.ChannelReport) -> None:
        """Take in what a frame cost that enters the channel, whatever becomes of it later."""
        self._payload.inc(report.payload_uses)
        self._pilots.inc(report.pilot_uses)
        self._side_information.inc(report.side_information_uses)
        self._airtime.inc(report.airtime_ms / 1e3)
        self._snr.observe(report.snr_db)

    def observe_stages(self, channel_s: float, upstream_s: float) -> None:
        """Take in how long an answered frame was in the proxy, and how long the proxy waited for the cloud."""
        self._stages.observe("channel", channel_s)
        self._stages.observe("upstream", upstream_s)


class ChannelProxy(link_pb2_grpc.SemanticLinkServicer):
    """Sends every frame through its link's channel, and forwards what is received.

    A frame is counted when it enters the channel, whatever becomes of it later. With ``inject_airtime`` it is held for
    its airtime; frames of one link do not queue behind each other. A frame that comes again is carried under the
    profile of its first time, even if the link's has changed since.

    A frame that is lost on the air has occupied the channel all the same. The proxy then plays the negative
    acknowledgement of the link layer: it answers with `FrameLostError`, and the sender transmits the frame again.

    Args:
        upstream: stub of the receiver, asked for with each frame.
        links: profiles and statistics of the links.
        carried: the memory of frames that may come again.
        default_timeout_s: seconds that the receiver has to answer when the client sets no deadline.
        max_in_flight: frames of one stream that are handled at once; beyond it the stream is not read.
        metrics: what to count with; its own where nobody looks.
        gate: whose links are whose.
        token: shown to the receiver where the sender showed none.
    """

    def __init__(
        self,
        upstream: Callable[[], link_pb2_grpc.SemanticLinkStub],
        links: LinkTable,
        carried: CarriedFrames,
        *,
        default_timeout_s: float = 30.0,
        max_in_flight: int = MAX_IN_FLIGHT,
        metrics: ChannelMetrics | None = None,
        gate: Gate | None = None,
        token: str | None = None,
    ) -> None:
        self._upstream = upstream
        self._links = links
        self._carried = carried
        self._default_timeout_s = default_timeout_s
        self._max_in_flight = max_in_flight
        self._metrics = metrics or ChannelMetrics()
        self._gate = gate or Gate()
        self._token = token

    async def Infer(self, request: link_pb2.Frame, context: Context) -> link_pb2.Result:  # noqa: N802
        """One frame, one result; errors are statuses, and the receiver's own pass unchanged."""
        try:
            return await self._observed(request, context)
        except ThinwireError as error:
            await abort(context, error, (_NO_RETRY,))
        except grpc.aio.AioRpcError as error:
            await _relay(context, error)

    async def Stream(self, request_iterator: AsyncIterator[link_pb2.Frame], context: Context) -> None:  # noqa: N802
        """Many frames; results as they are ready, with ``problem`` set for a frame that fails.

        Frames go to the receiver one by one through `Infer`, because a unary call can be sent again after a broken
        connection (the receiver deduplicates) and a stream cannot.
        """

        async def answer(frame: link_pb2.Frame) -> link_pb2.Result:
            try:
                return await self._observed(frame, context)
            except grpc.aio.AioRpcError as error:
                # The receiver's own word, which may be one that we do not know.
                result = identified(frame)
                result.problem.CopyFrom(to_problem(from_rpc_error(error)))
                result.problem.code = _code(error)
                return result

        await answer_each(request_iterator, context, answer, self._max_in_flight)

    async def _observed(self, frame: link_pb2.Frame, context: Context) -> link_pb2.Result:
        """Carry a frame, counted and traced; raises as `_carry` does."""
        parent = tracing.incoming(frame, context.invocation_metadata())
        with self._metrics.carrying(), tracing.span("transmission", tracing.SERVER, parent):
            return await self._carry(frame, context, tracing.outgoing() or parent)

    async def _carry(self, frame: link_pb2.Frame, context: Context, trace: tracing.Carrier) -> link_pb2.Result:
        """Transmit, forward with the trace's headers, and stamp the result.

        Raises:
            UnknownLinkError: the link is another's.
            FrameLostError: the frame was lost on the air.
            ThinwireError: the channel refused the frame.
            AioRpcError: the receiver did, or could not be reached.
        """
        start = time.perf_counter()
        check_link_id(frame.link_id)
        if not self._gate.owns_link(frame.link_id):
            raise UnknownLinkError(f"no link {frame.link_id!r} of yours")
        key = frame_key(frame)
        profile = self._carried.profile(key) or self._links.profile(frame.link_id)
        timeout_ms = frame.timeout_ms
        transmission = transmit(frame, profile)
        # Only now is the key known to be sound, and thus short.
        number = transmission.report.transmissions = self._carried.remember(key, profile)
        self._links.record(frame.link_id, transmission.report.channel_uses)
        self._metrics.observe_transmission(transmission.report)
        tracing.annotate(
            link_id=frame.link_id,
            request_id=frame.request_id,
            tokens=frame.tokens,
            channel_uses=transmission.report.channel_uses,
            snr_db=transmission.report.snr_db,
        )
        if profile.inject_airtime:
            await asyncio.sleep(transmission.airtime_s)
        if is_lost(frame, transmission.profile, number):
            raise FrameLostError(f"the frame was lost on the air, transmission {number}")
        forwarded = time.perf_counter()
        result: link_pb2.Result = await self._upstream().Infer(
            transmission.frame,
            timeout=self._timeout_s(timeout_ms, context, start),
            metadata=(*trace, *passed_on(context.invocation_metadata(), self._token)),
        )
        answered = time.perf_counter()
        result.channel.CopyFrom(transmission.report)
        result.channel_ms = (forwarded - start + time.perf_counter() - answered) * 1e3
        self._metrics.observe_stages(result.channel_ms / 1e3, answered - forwarded)
        return result

    def _timeout_s(self, timeout_ms: int, context: Context, start: float) -> float:
        """What is left of a frame's time, of which it may have spent some in the air."""
        if timeout_ms:
            return max(0.0, timeout_ms / 1e3 - (time.perf_counter() - start))
        remaining: float | None = context.time_remaining()
        return self._default_timeout_s if remaining is None else remaining


def _code(error: grpc.aio.AioRpcError) -> Any:
    """The word for an error in ``thinwire-error``: the receiver's own, or what the transport's status means."""
    return dict(error.trailing_metadata() or ()).get(ERROR_METADATA, from_rpc_error(error).code)


async def _relay(context: Context, error: grpc.aio.AioRpcError) -> NoReturn:
    """End a call as the receiver ended its own."""
    ours = from_rpc_error(error)
    metadata = dict(error_metadata(ours)) | {ERROR_METADATA: _code(error)}
    await context.abort(error.code(), error.details() or str(ours), (*metadata.items(), _NO_RETRY))
    raise AssertionError("unreachable: abort always raises")
