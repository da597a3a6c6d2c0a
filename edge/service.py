"""The path of one image through the device: pixels, policy, symbols, frame, answer."""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from edge.answer import Answer
from edge.engine import Encoded, Engine
from edge.feedback import Feedback
from edge.link_client import LinkClient
from edge.link_stream import LinkStream
from policies.budget import Budget
from policies.choice import Choice, choose_for
from policies.fronts import FrontFile
from thinwire import tracing
from thinwire.bundle import Bundle
from thinwire.errors import DeadlineError, ThinwireError
from thinwire.frames import count_uses, pack_symbols
from thinwire.images import decode, to_pixels
from thinwire.metrics import EdgeMetrics
from thinwire.rest.schemas import Parameters
from thinwire.v1 import link_pb2

log = logging.getLogger(__name__)
# Images of a stream that are under way behind the one that is answered next: enough to keep engine and link busy.
STREAM_WINDOW = 4

_Send = Callable[[link_pb2.Frame, float], Awaitable[link_pb2.Result]]


class EdgeService:
    """Classifies images over the link.

    Args:
        bundle: what both ends agree on.
        engine: runs the device's side of the bundle; one image at a time.
        front_file: the policies to choose from.
        client: the link.
        link_id: this device's name on the link.
        nominal_snr_db: average SNR in dB to assume before the link has said any.
        nominal_symbol_rate_hz: channel uses per second to assume likewise.
        nominal_model: channel model to assume likewise.

    Attributes:
        metrics: what this service counts.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        front_file: FrontFile,
        client: LinkClient,
        link_id: str,
        nominal_snr_db: float,
        nominal_symbol_rate_hz: float = 10_000.0,
        nominal_model: str = "awgn",
    ) -> None:
        self.bundle = bundle
        self.front_file = front_file
        self.client = client
        self.metrics = EdgeMetrics()
        self._engine = engine
        self._link_id = link_id
        self._snr_feedback = Feedback(nominal_snr_db)
        self._rate_feedback = Feedback(nominal_symbol_rate_hz)
        self._model_feedback = Feedback(nominal_model)
        # One at a time: two encodings side by side would only slow each other down. A request that is cancelled
        # leaves the queue; one that is already being encoded is finished and dropped.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="edge-engine")
        self._encoding = 0
        self.metrics.watch_queue(lambda: max(0, self._encoding - 1))

    async def classify(
        self, image_bytes: bytes, parameters: Parameters, request_id: str | None = None, want_logits: bool = False
    ) -> Answer:
        """Classify one encoded image.

        Args:
            image_bytes: the image as it came.
            parameters: how to answer; ``timeout_ms`` bounds the whole request.
            request_id: 32 hexadecimal digits that name the frame and key its noise; random when left out.
            want_logits: ask for all logits.

        Raises:
            DeadlineError: the time ran out, wherever the request stood.
            ThinwireError: any other error of the image, the choice, the engine or the link.
        """
        request_id = request_id or secrets.token_hex(16)
        with self.metrics.requests.counting(), tracing.span("image", request_id=request_id):
            return await self._answer(image_bytes, parameters, request_id, 0, want_logits, self.client.infer)

    async def classify_stream(
        self, images: AsyncIterator[bytes], parameters: Parameters
    ) -> AsyncGenerator[Answer | ThinwireError]:
        """Classify images as they come, over one call; ``timeout_ms`` bounds each image by itself.

        The frames share a request id and are numbered from 0 by their image.

        Yields:
            for each image, in the order of the images, the answer or the error that it met.
        """
        request_id = secrets.token_hex(16)
        link = LinkStream(self.client)
        # Bounded, so that images are read no faster than they are answered.
        order: asyncio.Queue[asyncio.Task[Answer | ThinwireError] | None] = asyncio.Queue(STREAM_WINDOW)
        tasks: set[asyncio.Task[Answer | ThinwireError]] = set()

        async def answer(image: bytes, sequence_number: int) -> Answer | ThinwireError:
            try:
                span = tracing.span("image", request_id=request_id, sequence_number=sequence_number)
                with self.metrics.requests.counting(), span:
                    return await self._answer(image, parameters, request_id, sequence_number, False, link.send)
            except ThinwireError as error:
                return error

        async def read() -> None:
            sequence_number = 0
            try:
                async for image in images:
                    task = asyncio.create_task(answer(image, sequence_number))
                    tasks.add(task)
                    sequence_number += 1
                    await order.put(task)
            except Exception:
                await order.put(None)
                raise
            await order.put(None)

        reader = asyncio.create_task(read())
        try:
            while (task := await order.get()) is not None:
                yield await task
                tasks.discard(task)
            await reader
        finally:
            for pending in (reader, *tasks):
                pending.cancel()
            await asyncio.gather(reader, *tasks, return_exceptions=True)
            await link.close()

    async def _answer(
        self, image: bytes, parameters: Parameters, request_id: str, sequence_number: int, logits: bool, send: _Send
    ) -> Answer:
        started = time.perf_counter()
        timeout_s = parameters.timeout_ms / 1000
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                with self.metrics.decoding(), tracing.span("decode"):
                    pixels = await asyncio.to_thread(self._pixels, image)
                snr_db = self._snr_db(parameters)
                rate_hz = self._rate_feedback.latest(self._link_id)
                budget = Budget.on_link(rate_hz, **parameters.budget.model_dump())
                model = _asked_model(parameters) or self._model_feedback.latest(self._link_id)
                choice = choose_for(self.bundle, self.front_file.current, parameters.policy, budget, model, snr_db)
                tracing.annotate(policy=choice.id)
                encoded = await self._encode(pixels, choice, snr_db)
                _check_cap(encoded, choice.cap)
                frame = self._frame(encoded, choice, parameters, request_id, sequence_number)
                frame.want_logits = logits
                edge_s = time.perf_counter() - started
                result = await send(frame, timeout_s - edge_s)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"no answer within {parameters.timeout_ms:g} ms") from None
        self._learn(result, parameters)
        numbers = self.bundle.preprocessing.size**2 * 3
        answer = Answer.of(result, frame, choice, encoded, numbers, edge_s, time.perf_counter() - started)
        tracing.annotate(tokens=answer.tokens, channel_uses=answer.uses.total, snr_db=answer.snr_db)
        self.metrics.observe_frame(answer.tokens, answer.uses.total, answer.capped)
        self.metrics.observe_stages(answer.edge_ms, answer.channel_ms, answer.cloud_ms, answer.total_ms)
        log.info(
            "frame",
            extra={
                "request_id": answer.frame_id,
                "snr_db": answer.snr_db,
                "policy": answer.policy_id,
                "front": None if answer.front is None else answer.front.name,
                "tokens": answer.tokens,
                "channel_uses": answer.uses.total,
                "transmissions": answer.transmissions,
                "answer": answer.outputs[0][0] if answer.outputs else None,
                "ms": round(answer.total_ms, 3),
            },
        )
        return answer

    async def _encode(self, pixels: NDArray[np.uint8], choice: Choice, snr_db: float) -> Encoded:
        """Wait for the engine and run it."""

        def run() -> tuple[float, Encoded]:
            return time.perf_counter(), self._engine.encode(pixels, choice.policy, snr_db, choice.cap)

        came = time.perf_counter()
        self._encoding += 1
        try:
            with tracing.span("encode"):
                began, encoded = await asyncio.get_running_loop().run_in_executor(self._executor, run)
                ended = time.perf_counter()
                tracing.record("queue", came, began)
                tracing.record("engine", began, ended)
        finally:
            self._encoding -= 1
        self.metrics.observe_encoding(began - came, ended - began)
        return encoded

    def _pixels(self, image: bytes) -> NDArray[np.uint8]:
        return to_pixels(decode(image), self.bundle.preprocessing)

    def _snr_db(self, parameters: Parameters) -> float:
        asked = _asked_snr_db(parameters)
        return self._snr_feedback.latest(self._link_id) if asked is None else asked

    def _learn(self, result: link_pb2.Result, parameters: Parameters) -> None:
        # What a request asked for itself says nothing of the link's own.
        if result.HasField("channel") and _asked_snr_db(parameters) is None:
            self._snr_feedback.report(self._link_id, result.channel.snr_db)
            self.metrics.observe_snr_db(result.channel.snr_db)
        if result.channel.model and _asked_model(parameters) is None:
            self._model_feedback.report(self._link_id, result.channel.model)
        # Zero: there is no proxy, or one that does not tell.
        if 0 < result.channel.symbol_rate_hz < math.inf:
            self._rate_feedback.report(self._link_id, result.channel.symbol_rate_hz)

    def _frame(
        self, encoded: Encoded, choice: Choice, parameters: Parameters, request_id: str, sequence_number: int
    ) -> link_pb2.Frame:
        tokens, symbols_per_token = encoded.symbols.shape
        frame = link_pb2.Frame(
            link_id=self._link_id,
            request_id=request_id,
            sequence_number=sequence_number,
            task=self.bundle.task,
            bundle_digest=self.bundle.digest,
            policy_id=choice.id,
            policy_digest=choice.policy.digest,
            tokens=tokens,
            symbols_per_token=symbols_per_token,
            symbols=pack_symbols(encoded.symbols),
            top_k=parameters.top_k,
        )
        if parameters.channel is not None:
            asked = parameters.channel
            frame.channel.CopyFrom(link_pb2.ChannelRequest(model=asked.model, snr_db=asked.snr_db, seed=asked.seed))
        return frame

    def close(self) -> None:
        """Drop what still waits for the engine. The client is the caller's to close."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _asked_snr_db(parameters: Parameters) -> float | None:
    return None if parameters.channel is None else parameters.channel.snr_db


def _asked_model(parameters: Parameters) -> str | None:
    # An empty name asks for the link's own.
    return None if parameters.channel is None else parameters.channel.model or None


def _check_cap(encoded: Encoded, cap: int | None) -> None:
    # The cap is a guarantee to whoever pays for the channel: no engine's mistake may reach the link.
    uses = count_uses(*encoded.symbols.shape).total
    if cap is not None and uses > cap:
        raise ThinwireError(f"the engine made a frame of {uses} channel uses under a cap of {cap}; it was not sent")
