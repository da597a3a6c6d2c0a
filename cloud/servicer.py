"""The cloud's end of the link: from a received frame to its labels."""

import asyncio
import hashlib
import logging
import struct
import time
from collections.abc import AsyncIterable, Sequence
from typing import Any

import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from cloud.answerer import ReceivedTokens
from cloud.batcher import Batcher
from cloud.deduplication import Deduplicator
from cloud.reception import receive
from thinwire import rpc, tracing
from thinwire.bundle import Bundle
from thinwire.errors import BundleMismatchError, InvalidFrameError, InvalidRequestError, ThinwireError, UnknownTaskError
from thinwire.frames import check_frame, count_uses, frame_key
from thinwire.metrics import CloudMetrics
from thinwire.outcomes import CANCELLED, OK
from thinwire.v1 import link_pb2, link_pb2_grpc

log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
DEFAULT_TOP_K = 5
MAX_IN_FLIGHT = 64


def rank_labels(logits: NDArray[np.float32], labels: Sequence[str], top_k: int) -> list[tuple[str, float]]:
    """The best labels with their softmax scores, best first; of equal logits the earlier class first.

    Args:
        logits: one per class.
        top_k: how many; all of them if there are fewer.
    """
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    scores = shifted / shifted.sum()
    # By the logits: far below the best, unequal ones have equal scores.
    best = np.argsort(-logits, kind="stable")[:top_k]
    return [(labels[index], float(scores[index])) for index in best]


def equalise(frame: link_pb2.Frame, symbols: NDArray[np.complex64]) -> ReceivedTokens:
    """Undo the channel as the frame's reception describes it; without one the link has gain 1 and no noise.

    Args:
        symbols: the frame's symbols, ``N x S``.

    Raises:
        InvalidFrameError: the reception is impossible, or the result is not finite in single precision.
    """
    if not frame.HasField("reception"):
        return receive(symbols, 1 + 0j, 0.0)
    reception = frame.reception
    return receive(symbols, complex(reception.gain_real, reception.gain_imag), reception.noise_variance)


def _digest(tokens: ReceivedTokens) -> bytes:
    # A reception has no part of its own in this: after equalisation, nothing else of it reaches the model.
    head = struct.pack("<QQd", *tokens.symbols.shape, tokens.noise_variance)
    return hashlib.blake2b(head + tokens.symbols.tobytes(), digest_size=16).digest()


class SemanticLinkServicer(link_pb2_grpc.SemanticLinkServicer):
    """Serves `SemanticLink` for one bundle.

    Args:
        bundle: what frames must be of.
        batcher: runs the decoder and the rest of the model; gives ``classes`` logits a frame.
        deduplicator: keeps the logits, so that a repeated frame may ask for more labels than at first.
        metrics: what to count with; its own where nobody looks.
    """

    def __init__(
        self,
        bundle: Bundle,
        batcher: Batcher[ReceivedTokens, NDArray[np.float32]],
        deduplicator: Deduplicator[NDArray[np.float32]],
        metrics: CloudMetrics | None = None,
    ) -> None:
        self._bundle = bundle
        self._batcher = batcher
        self._deduplicator = deduplicator
        self._metrics = metrics or CloudMetrics()

    async def Infer(self, request: link_pb2.Frame, context: Context) -> link_pb2.Result:  # noqa: N802
        """One frame, one result; an error is the call's status."""
        try:
            return await self._traced(request, context)
        except ThinwireError as error:
            await rpc.abort(context, error)

    async def Stream(self, request_iterator: AsyncIterable[link_pb2.Frame], context: Context) -> None:  # noqa: N802
        """Many frames, results as they are ready; an error is the problem of its frame's result."""
        slots, writing = asyncio.Semaphore(MAX_IN_FLIGHT), asyncio.Lock()

        async def answer(frame: link_pb2.Frame) -> None:
            try:
                result = await self._traced(frame, context)
            except ThinwireError as error:
                result = _identified(frame)
                result.problem.CopyFrom(link_pb2.Problem(code=error.code, detail=str(error)))
            # The slot is held until the peer takes the result: one that does not read cannot make us hoard.
            async with writing:
                await context.write(result)
            slots.release()

        unreadable = False
        async with asyncio.TaskGroup() as tasks:
            try:
                async for frame in request_iterator:
                    await slots.acquire()
                    tasks.create_task(answer(frame))
            except DecodeError:
                unreadable = True
        # Only now, so that what came before it is answered.
        if unreadable:
            await rpc.abort(context, InvalidFrameError("the stream holds a message that is no frame"))

    async def _traced(self, frame: link_pb2.Frame, context: Context) -> link_pb2.Result:
        parent = tracing.incoming(frame, context.invocation_metadata())
        with tracing.span("frame", tracing.SERVER, parent):
            return await self._answer(frame)

    async def _answer(self, frame: link_pb2.Frame) -> link_pb2.Result:
        """Answer one frame and log it; the only exceptions are cancellation and `ThinwireError`."""
        start = time.perf_counter()
        # Until it is known to be well formed, a frame's text may be as long as a message.
        fields: dict[str, Any] = {
            "request_id": frame.request_id[:32],
            "link_id": frame.link_id[:64],
            "tokens": frame.tokens,
            "policy": frame.policy_id[:128],
        }
        fields["channel_uses"] = count_uses(
            frame.tokens, frame.symbols_per_token, side_information_bits=frame.side_information_bits
        ).total
        tracing.annotate(
            request_id=fields["request_id"],
            link_id=fields["link_id"],
            policy=fields["policy"],
            tokens=frame.tokens,
        )
        error = CANCELLED
        try:
            logits = await self._logits(frame)
            result = _identified(frame)
            for label, score in rank_labels(logits, self._bundle.labels, frame.top_k or DEFAULT_TOP_K):
                result.outputs.add(label=label, score=score)
            if frame.want_logits:
                result.logits.extend(logits.tolist())
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
            log.info("frame", extra=fields | ({"error": error} if error else {}))

    async def _logits(self, frame: link_pb2.Frame) -> NDArray[np.float32]:
        with self._metrics.receiving(), tracing.span("receive"):
            tokens = equalise(frame, self._check(frame))
        self._take_in(frame)
        logits = await self._deduplicator.share(frame_key(frame), _digest(tokens), lambda: self._batcher.submit(tokens))
        if not np.isfinite(logits).all():
            raise InvalidFrameError("the model has no finite answer for these symbols")
        return logits

    def _take_in(self, frame: link_pb2.Frame) -> None:
        """Count and trace what a sound frame says of itself: one that is not may claim any size."""
        uses = count_uses(frame.tokens, frame.symbols_per_token, side_information_bits=frame.side_information_bits)
        snr_db = frame.reception.snr_db if frame.HasField("reception") else None
        self._metrics.observe_frame_size(frame.tokens, uses.total, snr_db)
        tracing.annotate(channel_uses=uses.total, snr_db=snr_db)

    def _check(self, frame: link_pb2.Frame) -> NDArray[np.complex64]:
        bundle = self._bundle
        symbols = check_frame(frame)
        if frame.bundle_digest != bundle.digest:
            raise BundleMismatchError(
                f"the frame is of the bundle {frame.bundle_digest[:64]!r}; this server holds {bundle.digest!r} "
                f"({bundle.name})"
            )
        if frame.task not in ("", bundle.task):
            raise UnknownTaskError(f"bundle {bundle.name} answers the task {bundle.task!r}, got {frame.task[:80]!r}")
        if frame.symbols_per_token > bundle.codec.max_symbols_per_token:
            raise InvalidFrameError(
                f"symbols_per_token must be 1 to {bundle.codec.max_symbols_per_token} for bundle {bundle.name}, "
                f"got {frame.symbols_per_token}"
            )
        if frame.tokens > bundle.patches + bundle.prefix_tokens:
            raise InvalidFrameError(
                f"tokens must be 1 to {bundle.patches + bundle.prefix_tokens} for bundle {bundle.name}, "
                f"got {frame.tokens}"
            )
        if frame.side_information_bits:
            raise InvalidFrameError(
                f"bundle {bundle.name} takes no side information, got {frame.side_information_bits} bits"
            )
        if frame.question:
            raise InvalidRequestError(f"the task {bundle.task!r} takes no question, got {frame.question[:80]!r}")
        return symbols


def _identified(frame: link_pb2.Frame) -> link_pb2.Result:
    return link_pb2.Result(link_id=frame.link_id, request_id=frame.request_id, sequence_number=frame.sequence_number)
