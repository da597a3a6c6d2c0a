"""The path of one frame through the device: input, policy, symbols, frame, answer."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edge.answer import Answer
from edge.device import Device
from edge.engine import Encoded, Engine
from edge.repeats import Known, Prepared
from policies.budget import Budget
from policies.choice import choose_for
from policies.fronts import FrontFile
from thinwire import tracing
from thinwire.audio import FRAMES_PER_POSITION
from thinwire.bundle import Bundle
from thinwire.channels import Channel
from thinwire.csi import Csi
from thinwire.errors import BundleError, DeadlineError, OverBudgetError, ThinwireError
from thinwire.frames import count_uses, pack_symbols
from thinwire.images import Area
from thinwire.rest.schemas import LinkParameters
from thinwire.v1 import link_pb2

log = logging.getLogger(__name__)
MAX_UINT32 = 2**32 - 1


@dataclass(frozen=True)
class Input:
    """What a model is about to be given.

    Attributes:
        make: gives it, as `edge.engine.Engine.encode` takes it; called on the engines' thread.
        area: of an image, the part of the upright one that this is; None of a clip.
    """

    make: Callable[[], NDArray[Any]]
    area: Area | None = None


# Decodes what came, by a deadline of the event loop's clock.
Read = Callable[[float], Awaitable[Input]]
_Send = Callable[[link_pb2.Frame, float], Awaitable[link_pb2.Result]]


class Sender:
    """Sends inputs of one bundle over the link.

    Args:
        bundle: what both ends agree on.
        engine: runs the device's side of the bundle; one image or clip at a time.
        front_file: the policies to choose from.
        device: the link, and what the bundles on this device share.

    Raises:
        BundleError: the bundle is of speech, and its engine hears nothing.
    """

    def __init__(self, bundle: Bundle, engine: Engine, front_file: FrontFile, device: Device) -> None:
        if bundle.task == "transcription" and not engine.mel_bins:
            raise BundleError(f"bundle {bundle.name} is of the task 'transcription', and its tower takes no features")
        self.bundle = bundle
        self.front_file = front_file
        self.device = device
        self._engine = engine
        device.metrics.bundles.add(bundle.name)

    @property
    def mel_bins(self) -> int:
        """Bands of the features that the engine takes; 0 of one that sees."""
        return self._engine.mel_bins or 0

    @property
    def input_numbers(self) -> int:
        """How many numbers the model's input has, of a clip all that it hears at once: what CBR goes by."""
        if self.mel_bins:
            return self.mel_bins * self.bundle.patches * FRAMES_PER_POSITION
        return self.bundle.preprocessing.size**2 * 3

    async def answer(
        self,
        read: Read,
        parameters: LinkParameters,
        asked: link_pb2.Frame,
        send: _Send,
        known: Known,
        deadline_s: float | None = None,
    ) -> Answer:
        """Send one frame, and wait for its answer.

        Args:
            read: decodes what goes into it.
            parameters: how it crosses the link.
            asked: its identity, and the task's own fields.
            send: sends a frame, by so many seconds from now.
            known: what is known of it; see `edge.repeats.Repeats.known`.
            deadline_s: by the event loop's clock; by default ``timeout_ms`` from now.

        Raises:
            DeadlineError: the time ran out, wherever the frame stood.
            ThinwireError: any other error of the input, the choice, the engine or the link.
        """
        started = time.perf_counter()
        loop = asyncio.get_running_loop()
        if deadline_s is None:
            deadline_s = loop.time() + parameters.timeout_ms / 1000
        limit = asyncio.timeout_at(deadline_s)
        is_new = False
        on_link_s = 0.0
        try:
            async with limit:
                while True:
                    async with known.lock:
                        if known.prepared is None:
                            known.prepared = await self._prepare(read, parameters, deadline_s, known)
                            is_new = True
                        prepared = known.prepared
                    frame = self._frame(asked, prepared, parameters)
                    sent = time.perf_counter()
                    edge_s = sent - started - on_link_s
                    try:
                        result = await send(frame, deadline_s - loop.time())
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
        total_s = time.perf_counter() - started
        answer = Answer.of(result, frame, prepared, self.input_numbers, edge_s, total_s)
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
                # What somebody said is for nobody's log.
                "answer": answer.outputs[0][0] if answer.outputs and answer.transcript is None else None,
                "ms": round(answer.total_ms, 3),
            },
        )
        return answer

    async def _prepare(self, read: Read, parameters: LinkParameters, deadline_s: float, known: Known) -> Prepared:
        # Before it is decoded, which may take longer than the engine does.
        self.device.engines.check(deadline_s)
        given = await read(deadline_s)
        channel = self._channel(parameters)
        budget = Budget.on_link(self.device.symbol_rate_hz, **parameters.budget.model_dump())
        choice = choose_for(self.bundle, self.front_file.current, parameters.policy, budget, channel)
        tracing.annotate(policy=choice.id)
        encoded = await self.device.run(
            lambda: self._engine.encode(given.make(), choice.policy, channel.snr_db, choice.cap),
            self.bundle.name,
            deadline_s,
        )
        _check_cap(encoded, choice.cap)
        known.edge_gmacs += encoded.edge_gmacs
        encoded = replace(encoded, edge_gmacs=known.edge_gmacs)
        return Prepared(encoded, given.area, choice, channel, min(budget.cap or 0, MAX_UINT32))

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
