"""The path of one image through the device: pixels, policy, symbols, frame, answer."""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from edge.answer import Answer
from edge.device import Device
from edge.engine import Encoded, Engine
from edge.link_stream import LinkStream
from edge.repeats import Known, Prepared, content_of
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import FrontFile
from thinwire import tracing
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import DeadlineError, OverBudgetError, ThinwireError
from thinwire.frames import count_uses, pack_symbols
from thinwire.generation import check_question
from thinwire.images import decode_apart
from thinwire.rest.schemas import LinkParameters, Parameters, VqaParameters
from thinwire.v1 import link_pb2

log = logging.getLogger(__name__)
# Images of a stream that are under way behind the one that is answered next: enough to keep engine and link busy.
STREAM_WINDOW = 4
MAX_UINT32 = 2**32 - 1

_Send = Callable[[link_pb2.Frame, float], Awaitable[link_pb2.Result]]


class EdgeService:
    """Answers images with one bundle over the link.

    Args:
        bundle: what both ends agree on.
        engine: runs the device's side of the bundle; one image at a time.
        front_file: the policies to choose from.
        device: the link, and what the bundles on this device share.
    """

    def __init__(self, bundle: Bundle, engine: Engine, front_file: FrontFile, device: Device) -> None:
        self.bundle = bundle
        self.front_file = front_file
        self.device = device
        self._engine = engine
        device.metrics.bundles.add(bundle.name)

    async def classify(
        self, image_bytes: bytes, parameters: Parameters, request_id: str | None = None, want_logits: bool = False
    ) -> Answer:
        """Classify one encoded image.

        Args:
            image_bytes: the image as it came.
            parameters: how to answer; ``timeout_ms`` bounds the whole request.
            request_id: 32 hexadecimal digits that name the frame and key its noise, see `frame_id_of`; random when
                left out. What comes again under the same id sends the same frame again.
            want_logits: ask for all logits.

        Raises:
            IdTakenError: another request came under this id; see `content_of`.
            OverloadedError: too many images wait, here or in the cloud.
            DeadlineError: the time ran out, wherever the request stood.
            ThinwireError: any other error of the image, the choice, the engine or the link.
        """
        with self._request(image_bytes, "", parameters, request_id) as (request_id, known):
            asked = link_pb2.Frame(request_id=request_id, top_k=parameters.top_k, want_logits=want_logits)
            return await self._answer(image_bytes, parameters, asked, self.device.client.infer, known)

    async def ask(
        self, image_bytes: bytes, question: str, parameters: VqaParameters, request_id: str | None = None
    ) -> Answer:
        """Answer a question about one encoded image; the cloud keeps its tokens for further questions.

        Args:
            image_bytes: the image as it came.
            question: about it; an empty one has the tokens kept and nothing answered.
            parameters: how to answer; ``timeout_ms`` bounds the whole request.
            request_id: as for `classify`.

        Raises:
            InvalidRequestError: the question is too long.
            IdTakenError, OverloadedError, DeadlineError, ThinwireError: as for `classify`.
        """
        with self._request(image_bytes, question, parameters, request_id) as (request_id, known):
            check_question(question)
            # Without a question nothing is generated.
            generation = parameters.generation.to_message() if question else None
            asked = link_pb2.Frame(request_id=request_id, question=question, generation=generation)
            return await self._answer(image_bytes, parameters, asked, self.device.client.infer, known)

    async def classify_stream(
        self, images: AsyncIterator[bytes], parameters: Parameters
    ) -> AsyncGenerator[Answer | ThinwireError]:
        """Classify images as they come, over one call; ``timeout_ms`` bounds each image by itself.

        The frames share a request id and are numbered from 0 by their image.

        Yields:
            for each image, in the order of the images, the answer or the error that it met.
        """
        request_id = secrets.token_hex(16)
        link = LinkStream(self.device.client)
        # Bounded, so that images are read no faster than they are answered.
        order: asyncio.Queue[asyncio.Task[Answer | ThinwireError] | None] = asyncio.Queue(STREAM_WINDOW)
        tasks: set[asyncio.Task[Answer | ThinwireError]] = set()

        async def answer(image: bytes, sequence_number: int) -> Answer | ThinwireError:
            try:
                span = tracing.span(
                    "image", request_id=request_id, sequence_number=sequence_number, bundle=self.bundle.name
                )
                with self.device.metrics.requests.counting(), span:
                    asked = link_pb2.Frame(
                        request_id=request_id, sequence_number=sequence_number, top_k=parameters.top_k
                    )
                    return await self._answer(image, parameters, asked, link.send, Known())
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

    @contextmanager
    def _request(
        self, image: bytes, question: str, parameters: LinkParameters, request_id: str | None
    ) -> Iterator[tuple[str, Known]]:
        """Count and trace a request that is one call; gives its id, and what is known of it if it chose that itself."""
        name = request_id or secrets.token_hex(16)
        with self.device.metrics.requests.counting(), tracing.span("image", request_id=name, bundle=self.bundle.name):
            if request_id is None:
                yield name, Known()
                return
            content = content_of(self.bundle.digest, image, question, parameters)
            with self.device.repeats.known(name, content) as known:
                yield name, known

    async def _answer(
        self, image: bytes, parameters: LinkParameters, asked: link_pb2.Frame, send: _Send, known: Known
    ) -> Answer:
        """Fill the frame that was ``asked`` for, which has its identity and the task's own fields, and send it."""
        started = time.perf_counter()
        timeout_s = parameters.timeout_ms / 1000
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        limit = asyncio.timeout_at(deadline_s)
        is_new = False
        on_link_s = 0.0
        try:
            async with limit:
                while True:
                    async with known.lock:
                        if known.prepared is None:
                            known.prepared = await self._prepare(image, parameters, deadline_s, known)
                            is_new = True
                        prepared = known.prepared
                    frame = self._frame(asked, prepared, parameters)
                    sent = time.perf_counter()
                    edge_s = sent - started - on_link_s
                    try:
                        result = await send(frame, timeout_s - (sent - started))
                        break
                    except OverBudgetError as error:
                        # The link has other pilots than were taken off the budget; the frame was not sent. Once: a
                        # link that changes faster than frames are made is no link to keep a budget on.
                        if known.prepared is prepared:
                            known.prepared = None
                        if on_link_s or (parameters.channel is not None and parameters.channel.csi):
                            raise
                        on_link_s = time.perf_counter() - sent
                        self.device.learn_csi(error.csi)
                        if self.device.channel.csi == prepared.channel.csi:
                            raise
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineError(f"no answer within {parameters.timeout_ms:g} ms") from None
        # A frame that comes again meets the channel that it met first, which may be long gone.
        if is_new and result.HasField("channel"):
            self.device.learn(result.channel, frame.channel)
        numbers = self.bundle.preprocessing.size**2 * 3
        total_s = time.perf_counter() - started
        answer = Answer.of(result, frame, prepared, numbers, edge_s, total_s)
        tracing.annotate(
            policy=answer.policy_id, tokens=answer.tokens, channel_uses=answer.uses.total, snr_db=answer.snr_db
        )
        self.device.metrics.observe_frame(self.bundle.name, answer.tokens, answer.uses.total, answer.capped)
        self.device.metrics.observe_stages(answer.edge_ms, answer.channel_ms, answer.cloud_ms, answer.total_ms)
        log.info(
            "frame",
            extra={
                "request_id": answer.frame_id,
                "bundle": self.bundle.name,
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

    async def _prepare(self, image: bytes, parameters: LinkParameters, deadline_s: float, known: Known) -> Prepared:
        # Before it is decoded, which may take longer than the engine does.
        self.device.engines.check(deadline_s)
        with self.device.metrics.decoding(), tracing.span("decode"):
            pixels, area = await decode_apart(image, self.bundle.preprocessing, deadline_s)
        channel = self._channel(parameters)
        budget = Budget.on_link(self.device.symbol_rate_hz, **parameters.budget.model_dump())
        choice = choose_for(self.bundle, self.front_file.current, parameters.policy, budget, channel)
        tracing.annotate(policy=choice.id)
        encoded = await self.device.run(
            lambda: self._engine.encode(pixels, choice.policy, channel.snr_db, choice.cap), self.bundle.name, deadline_s
        )
        _check_cap(encoded, choice.cap)
        known.edge_gmacs += encoded.edge_gmacs
        encoded = replace(encoded, edge_gmacs=known.edge_gmacs)
        return Prepared(encoded, area, choice, channel, min(budget.cap or 0, MAX_UINT32))

    def _channel(self, parameters: LinkParameters) -> Channel:
        """The link's channel, as far as is known, with what a request asks for in place of its own."""
        known, asked = self.device.channel, parameters.channel
        if asked is None:
            return known
        return Channel(
            asked.model or known.model,
            known.snr_db if asked.snr_db is None else asked.snr_db,
            Csi.parse(asked.csi) if asked.csi else known.csi,
        )

    def _frame(self, asked: link_pb2.Frame, prepared: Prepared, parameters: LinkParameters) -> link_pb2.Frame:
        symbols, choice = prepared.encoded.symbols, prepared.choice
        tokens, symbols_per_token = symbols.shape
        frame = link_pb2.Frame(
            link_id=self.device.link_id,
            task=self.bundle.task,
            bundle_digest=self.bundle.digest,
            policy_id=choice.id,
            policy_digest=choice.policy.digest,
            tokens=tokens,
            symbols_per_token=symbols_per_token,
            symbols=pack_symbols(symbols),
            max_channel_uses=prepared.max_channel_uses,
            want_received=parameters.explain,
        )
        frame.MergeFrom(asked)
        if parameters.channel is not None:
            channel = parameters.channel
            frame.channel.CopyFrom(
                link_pb2.ChannelRequest(model=channel.model, snr_db=channel.snr_db, seed=channel.seed, csi=channel.csi)
            )
        return frame


def _check_cap(encoded: Encoded, cap: int | None) -> None:
    # The cap is a guarantee to whoever pays for the channel: no engine's mistake may reach the link.
    uses = count_uses(*encoded.symbols.shape).total
    if cap is not None and uses > cap:
        raise ThinwireError(f"the engine made a frame of {uses} channel uses under a cap of {cap}; it was not sent")
