"""What stands for the engine, the cloud and a link that can break in the tests of the device."""

import asyncio
import hashlib
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from edge.engine import Encoded
from policies.policy import Policy
from tests.ports import reserved_port
from thinwire import rpc
from thinwire.errors import BudgetError, InvalidRequestError, ThinwireError
from thinwire.frames import check_frame
from thinwire.v1 import link_pb2, link_pb2_grpc

PATCHES = 16
LABELS = tuple(f"label {index}" for index in range(6))
SERVICE = "thinwire.v1.SemanticLink"


@dataclass(frozen=True)
class EngineCall:
    policy: Policy
    snr_db: float
    cap: int | None
    thread: str


class FakeEngine:
    """Symbols that depend on pixels and policy alone; 4, 8 or 16 tokens by the first threshold, fewer under a cap."""

    mel_bins = None

    def __init__(self) -> None:
        self.calls: list[EngineCall] = []
        self.obeys_cap = True
        self.open = threading.Event()
        self.open.set()

    def encode(
        self, pixels: NDArray[np.uint8], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        self.calls.append(EngineCall(policy, snr_db, max_channel_uses, threading.current_thread().name))
        assert self.open.wait(60), "the test left the engine closed"
        rate = policy.symbols_per_token
        wanted = PATCHES if policy.thresholds[0] >= 1 else 8 if policy.thresholds[0] >= 0.8 else 4
        tokens = wanted
        if max_channel_uses is not None and self.obeys_cap:
            tokens = min(wanted, max_channel_uses // rate)
        if tokens == 0:
            raise BudgetError(f"a cap of {max_channel_uses} is under the cost of one token ({rate})")
        seed = hashlib.sha256(pixels.tobytes() + policy.digest.encode()).digest()
        parts = np.random.default_rng(list(seed)).normal(size=(tokens, rate, 2))
        symbols = (parts[..., 0] + 1j * parts[..., 1]).astype(np.complex64)
        symbols /= np.sqrt(np.mean(np.abs(symbols) ** 2))
        merge_map = np.arange(PATCHES, dtype=np.int64) * tokens // PATCHES
        sizes = np.bincount(merge_map, minlength=tokens)
        return Encoded(symbols, merge_map, sizes, (tokens, tokens), tokens < wanted, 0.25)


class FakeHearing(FakeEngine):
    """The same of features, which it keeps."""

    mel_bins = 8

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[NDArray[Any]] = []

    def encode(
        self, features: NDArray[Any], policy: Policy, snr_db: float, max_channel_uses: int | None = None
    ) -> Encoded:
        self.heard.append(features)
        return super().encode(features, policy, snr_db, max_channel_uses)


class FakeCloud(link_pb2_grpc.SemanticLinkServicer):
    """Answers frames from their bytes alone; what goes wrong is set by the test.

    Attributes:
        frames: all frames that came, retries included.
        snr_db: stamped on results as a proxy does; None: no proxy in between.
        model: stamped likewise.
        symbol_rate_hz: stamped likewise.
        csi: stamped likewise.
        refusal: the error to answer with, by frame.
        delay_s: how long an answer takes, by frame.
        held: which frames wait until ``release`` is set.
        remaining_s: what each call had left of its deadline.
        cancelled: set when a call is cancelled while it waits.
        hang_ups: how many streams to end at once, as if nothing were wrong.
        on_frame: called with each frame when it came and the call's headers are sent.
    """

    def __init__(self) -> None:
        self.frames: list[link_pb2.Frame] = []
        self.snr_db: float | None = 10.0
        self.model = "awgn"
        self.symbol_rate_hz = 10_000.0
        self.csi = "perfect"
        self.refusal: Callable[[link_pb2.Frame], ThinwireError | None] = lambda _: None
        self.delay_s: Callable[[link_pb2.Frame], float] = lambda _: 0.0
        self.remaining_s: list[float | None] = []
        self.cancelled = asyncio.Event()
        self.arrived = asyncio.Event()
        self.on_frame: Callable[[link_pb2.Frame], Any] = lambda _: None
        self.hang_ups = 0
        self.held: Callable[[link_pb2.Frame], bool] = lambda _: False
        self.release = asyncio.Event()
        self._stack = ExitStack()
        self.port = self._stack.enter_context(reserved_port())
        self._server: rpc.Server | None = None

    async def start(self) -> None:
        """Listen, on the same port again after `stop`."""
        self._server = rpc.Server([SERVICE])
        link_pb2_grpc.add_SemanticLinkServicer_to_server(self, self._server.grpc_server)
        await self._server.start(f"127.0.0.1:{self.port}")

    async def stop(self) -> None:
        """Die, cancelling what runs."""
        if self._server is not None:
            await self._server.stop(0)
        self._server = None

    async def close(self) -> None:
        """Die for good."""
        await self.stop()
        self._stack.close()

    async def Infer(  # noqa: N802
        self, frame: link_pb2.Frame, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> link_pb2.Result:
        self.remaining_s.append(context.time_remaining())
        # With headers sent, gRPC leaves a retry to the caller.
        await context.send_initial_metadata(())
        try:
            return await self._answer(frame)
        except ThinwireError as error:
            await rpc.abort(context, error)

    async def Stream(  # noqa: N802
        self, frames: AsyncIterator[link_pb2.Frame], context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> AsyncIterator[link_pb2.Result]:
        if self.hang_ups:
            self.hang_ups -= 1
            return
        ready: asyncio.Queue[link_pb2.Result | None] = asyncio.Queue()

        async def one(frame: link_pb2.Frame) -> None:
            try:
                await ready.put(await self._answer(frame))
            except ThinwireError as error:
                result = link_pb2.Result(
                    link_id=frame.link_id, request_id=frame.request_id, sequence_number=frame.sequence_number
                )
                result.problem.code, result.problem.detail = error.code, str(error)
                await ready.put(result)

        async def read() -> None:
            async with asyncio.TaskGroup() as group:
                async for frame in frames:
                    group.create_task(one(frame))
            await ready.put(None)

        reader = asyncio.create_task(read())
        try:
            while (result := await ready.get()) is not None:
                yield result
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _answer(self, frame: link_pb2.Frame) -> link_pb2.Result:
        self.frames.append(frame)
        self.arrived.set()
        symbols = check_frame(frame)
        self.on_frame(frame)
        try:
            await asyncio.sleep(self.delay_s(frame))
            if self.held(frame):
                await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if (error := self.refusal(frame)) is not None:
            raise error
        if frame.channel.model not in ("", "awgn", "rayleigh"):
            raise InvalidRequestError(f"unknown channel model {frame.channel.model!r}")
        logits = np.frombuffer(hashlib.sha256(frame.symbols).digest()[: len(LABELS)], np.uint8) / np.float32(64)
        scores = np.exp(logits) / np.exp(logits).sum()
        best = np.argsort(-scores)[: frame.top_k or 5]
        result = link_pb2.Result(
            link_id=frame.link_id,
            request_id=frame.request_id,
            sequence_number=frame.sequence_number,
            outputs=[link_pb2.Label(label=LABELS[index], score=float(scores[index])) for index in best],
            logits=logits.tolist() if frame.want_logits else [],
            cloud_ms=2.0,
        )
        if frame.want_received:
            result.received = (symbols * np.complex64(1j)).tobytes()
        if frame.question:
            said = f"{frame.question} {frame.generation.max_new_tokens}"
            del result.outputs[:]
            result.outputs.add(label=said, score=0.5)
            result.finish_reason, result.prompt_tokens, result.answer_tokens = "stop", 7, 2
        if frame.HasField("transcription"):
            told = frame.transcription
            said = f" {told.language or 'heard'} {frame.sequence_number}"
            result.transcript.segments.add(start=0, end=told.seconds, text=said, tokens=[7])
            result.transcript.language = "english"
            del result.outputs[:]
            result.outputs.add(label=said.strip(), score=0.5)
        if self.snr_db is not None:
            result.channel_ms = 1.0
            result.channel.CopyFrom(
                link_pb2.ChannelReport(
                    model=frame.channel.model or self.model,
                    snr_db=frame.channel.snr_db if frame.channel.HasField("snr_db") else self.snr_db,
                    channel_uses=symbols.size + 3,
                    payload_uses=symbols.size,
                    pilot_uses=2,
                    side_information_uses=1,
                    airtime_ms=0.5,
                    transmissions=1,
                    symbol_rate_hz=self.symbol_rate_hz,
                    csi=frame.channel.csi or self.csi,
                )
            )
        return result


class Relay:
    """Forwards TCP to the fake cloud, and can cut every connection without a word of HTTP/2.

    On plain sockets, each of which has one owner: asyncio's streams leave a connection that comes just as their server
    closes to the garbage collector.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        near.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._forward(near))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # One that is cancelled before it begins runs none of its code.
        task.add_done_callback(lambda _: near.close())

    async def _forward(self, near: socket.socket) -> None:
        with socket.socket() as far, suppress(OSError):
            far.setblocking(False)
            await asyncio.get_running_loop().sock_connect(far, self._target)
            copies = [asyncio.create_task(_copy(near, far)), asyncio.create_task(_copy(far, near))]
            try:
                await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for copy in copies:
                    copy.cancel()
                await asyncio.gather(*copies, return_exceptions=True)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    def cut(self) -> None:
        """Drop every connection."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _copy(source: socket.socket, sink: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    while data := await loop.sock_recv(source, 65536):
        await loop.sock_sendall(sink, data)
