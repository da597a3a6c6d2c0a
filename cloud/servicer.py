"""The cloud's end of the link: from a received frame to its result."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterable, Sequence
from functools import partial
from typing import Any

from cloud.metrics import CloudMetrics
from cloud.task import Task
from thinwire import rpc, tracing
from thinwire.access import Gate
from thinwire.bundle import Bundle
from thinwire.equalise import Equaliser, receive
from thinwire.errors import (
    BundleMismatchError,
    InvalidFrameError,
    ThinwireError,
    UnknownLinkError,
    UnknownTaskError,
)
from thinwire.frame_stream import Context, answer_each
from thinwire.frames import check_frame, check_link_id, count_uses, identified, read_reception
from thinwire.rpc import CANCELLED, OK
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)


class SemanticLinkServicer(link_pb2_grpc.SemanticLinkServicer):
    """Serves `SemanticLink`.

    Args:
        tasks: what becomes of frames, by the bundle that they are of.
        metrics: what to count with; its own where nobody looks.
        equaliser: how frames are equalised.
        gate: whose links and frames are whose.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        metrics: CloudMetrics | None = None,
        equaliser: Equaliser = "mmse",
        gate: Gate | None = None,
    ) -> None:
        self._tasks = {task.bundle.digest: task for task in tasks}
        self._equaliser: Equaliser = equaliser
        self._metrics = metrics or CloudMetrics()
        self._gate = gate or Gate()

    async def Infer(self, request: link_pb2.Frame, context: Context) -> link_pb2.Result:  # noqa: N802
        """One frame, one result; an error is the call's status."""
        try:
            return await self._traced(request, context)
        except ThinwireError as error:
            await rpc.abort(context, error)

    async def Stream(self, request_iterator: AsyncIterable[link_pb2.Frame], context: Context) -> None:  # noqa: N802
        """Many frames, results as they are ready; an error is the problem of its frame's result."""
        await answer_each(request_iterator, context, lambda frame: self._traced(frame, context))

    async def _traced(self, frame: link_pb2.Frame, context: Context) -> link_pb2.Result:
        parent = tracing.incoming(frame, context.invocation_metadata())
        with tracing.span("frame", tracing.SERVER, parent):
            return await self._answer(frame, context)

    async def _answer(self, frame: link_pb2.Frame, context: Context) -> link_pb2.Result:
        """Answer one frame and log it; the only exceptions are cancellation and `ThinwireError`."""
        start = time.perf_counter()
        # Until it is known to be well formed, a frame's text may be as long as a message.
        fields: dict[str, Any] = {
            "request_id": frame.request_id[:32],
            "link_id": frame.link_id[:64],
            "tokens": frame.tokens,
            "policy": frame.policy_id[:128],
        }
        if frame.bundle_digest in self._tasks:
            fields["bundle"] = self._tasks[frame.bundle_digest].bundle.name
        fields["channel_uses"] = _uses(frame)
        tracing.annotate(
            request_id=fields["request_id"],
            link_id=fields["link_id"],
            policy=fields["policy"],
            tokens=frame.tokens,
        )
        error = CANCELLED
        try:
            result = identified(frame)
            await self._owned(frame, result, context)
            elapsed = time.perf_counter() - start
            result.cloud_ms = 1e3 * elapsed
            self._metrics.observe_frame(elapsed)
            error = ""
            return result
        except ThinwireError as known:
            error = known.code
            raise
        except Exception:
            error = ThinwireError.code
            log.exception("unexpected error", extra=fields)
            raise ThinwireError("an unexpected error; see the log") from None
        finally:
            self._metrics.frames.count(error or OK)
            fields["ms"] = round(1e3 * (time.perf_counter() - start), 3)
            if error:
                fields["error"] = error
            # Once the answer is on its way: a line takes as long as all else that is done here.
            asyncio.get_running_loop().call_soon(partial(log.info, "frame", extra=fields))

    async def _owned(self, frame: link_pb2.Frame, result: link_pb2.Result, context: Context) -> None:
        """Answer a frame of whoever it is of, over a link of whoever sent it."""
        deadline_s = _deadline_s(frame, context)
        check_link_id(frame.link_id)
        if not self._gate.owns_link(frame.link_id):
            raise UnknownLinkError(f"no link {frame.link_id!r} of yours")
        with self._gate.on_behalf(context.invocation_metadata(), frame.link_id, frame.request_id):
            await self._fill(frame, result, deadline_s)

    async def _fill(self, frame: link_pb2.Frame, result: link_pb2.Result, deadline_s: float) -> None:
        with self._metrics.receiving(), tracing.span("receive"):
            symbols = check_frame(frame)
            task = self._task(frame)
            _check_fit(frame, task.bundle)
            task.check(frame)
            tokens = receive(symbols, *read_reception(frame), self._equaliser)
        self._take_in(frame, task.bundle.name)
        await task.answer(frame, tokens, result, deadline_s)
        if frame.want_received:
            result.received = frame.symbols

    def _take_in(self, frame: link_pb2.Frame, bundle: str) -> None:
        """Count and trace what a sound frame says of itself: one that is not may claim any size."""
        uses = _uses(frame)
        snr_db = frame.reception.snr_db if frame.HasField("reception") else None
        self._metrics.observe_frame_size(bundle, frame.tokens, uses, snr_db)
        tracing.annotate(bundle=bundle, channel_uses=uses, snr_db=snr_db)

    def _task(self, frame: link_pb2.Frame) -> Task:
        task = self._tasks.get(frame.bundle_digest)
        if task is None:
            held = ", ".join(f"{digest!r} ({task.bundle.name})" for digest, task in self._tasks.items())
            raise BundleMismatchError(
                f"the frame is of the bundle {frame.bundle_digest[:64]!r}; this server holds {held}"
            )
        return task


def _check_fit(frame: link_pb2.Frame, bundle: Bundle) -> None:
    """Check that a frame is one that the bundle's device could have sent."""
    if frame.task not in ("", bundle.task):
        raise UnknownTaskError(f"bundle {bundle.name} answers the task {bundle.task!r}, got {frame.task[:80]!r}")
    if frame.symbols_per_token > bundle.codec.max_symbols_per_token:
        raise InvalidFrameError(
            f"symbols_per_token must be 1 to {bundle.codec.max_symbols_per_token} for bundle {bundle.name}, "
            f"got {frame.symbols_per_token}"
        )
    if frame.tokens > bundle.patches + bundle.prefix_tokens:
        raise InvalidFrameError(
            f"tokens must be 1 to {bundle.patches + bundle.prefix_tokens} for bundle {bundle.name}, got {frame.tokens}"
        )
    if frame.side_information_bits:
        raise InvalidFrameError(
            f"bundle {bundle.name} takes no side information, got {frame.side_information_bits} bits"
        )


def _deadline_s(frame: link_pb2.Frame, context: Context) -> float:
    """When nobody waits for a frame's result any more, by the event loop's clock."""
    remaining_s: float | None = context.time_remaining()
    if frame.timeout_ms:
        remaining_s = min(frame.timeout_ms / 1e3, math.inf if remaining_s is None else remaining_s)
    return math.inf if remaining_s is None else asyncio.get_running_loop().time() + remaining_s


def _uses(frame: link_pb2.Frame) -> int:
    return count_uses(
        frame.tokens,
        frame.symbols_per_token,
        side_information_bits=frame.side_information_bits,
        pilots=frame.reception.pilot_uses,
    ).total
