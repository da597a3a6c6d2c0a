"""What all bundles on one device share: its link and what it knows of that, the thread of the engines, the counters."""

import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge

from edge.link_client import LinkClient
from edge.repeats import Repeats
from thinwire import tracing
from thinwire.channels import NOMINAL, Channel
from thinwire.csi import Csi
from thinwire.errors import InvalidRequestError
from thinwire.metrics import FrameSizes, Outcomes, Stages
from thinwire.v1 import link_pb2
from thinwire.workers import Workers

T = TypeVar("T")


class EdgeMetrics:
    """What one edge service counts.

    Attributes:
        registry: what ``/metrics`` shows.
        requests: images by outcome, those of streams included.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes("thinwire_requests", "Images by outcome", "edge", self.registry)
        self._sizes = FrameSizes("an answered frame", self.registry)
        self._capped = Counter(
            "thinwire_capped_frames", "Answered frames merged further to fit their cap", registry=self.registry
        )
        self._snr = Gauge("thinwire_snr_db", "Average SNR in dB as fed back last", registry=self.registry)
        # Zero would be an SNR like any other; nothing has been heard yet.
        self._snr.set(math.nan)
        self._queue = Gauge(
            "thinwire_queue_length", "Images that wait for the engine", ["kind"], registry=self.registry
        )
        stages = ("decode", "queue", "engine", "edge", "channel", "cloud", "total")
        self._stages = Stages("edge", stages, self.registry)

    def watch_queue(self, length: Callable[[], int]) -> None:
        """Show how many images wait for the engine, asked for at each scrape."""
        self._queue.labels("image").set_function(length)

    def decoding(self) -> AbstractContextManager[None]:
        """Take in the time of the block that decodes an image: the stage "decode"."""
        return self._stages.timing("decode")

    def observe_encoding(self, queue_s: float, engine_s: float) -> None:
        """Take in how long an image waited for the engine, and how long that took."""
        self._stages.observe("queue", queue_s)
        self._stages.observe("engine", engine_s)

    def observe_frame(self, tokens: int, channel_uses: int, capped: bool) -> None:
        """Take in the size of a frame that was answered."""
        self._sizes.observe(tokens, channel_uses)
        self._capped.inc(int(capped))

    def observe_stages(self, edge_ms: float, channel_ms: float | None, cloud_ms: float, total_ms: float) -> None:
        """Take in where an answer's time went, in milliseconds; None for a channel that took no part."""
        times = {"edge": edge_ms, "channel": channel_ms, "cloud": cloud_ms, "total": total_ms}
        for stage, time_ms in times.items():
            if time_ms is not None:
                self._stages.observe(stage, time_ms / 1e3)

    def observe_snr_db(self, snr_db: float) -> None:
        """Take in the average SNR in dB that the link said of itself."""
        self._snr.set(snr_db)


class Device:
    """One device on one link.

    Args:
        client: the link.
        link_id: this device's name on it.
        channel: to assume before the link has said any.
        symbol_rate_hz: channel uses per second to assume likewise.

    Attributes:
        channel: as the link said last; its CSI says what pilots a frame costs.
        symbol_rate_hz: channel uses per second likewise.
        metrics: what this device counts.
        engines: the one thread that they run on.
        repeats: what came under the ids that clients chose, whatever its task.
    """

    def __init__(
        self, client: LinkClient, link_id: str, channel: Channel = NOMINAL, symbol_rate_hz: float = 10_000.0
    ) -> None:
        self.client = client
        self.link_id = link_id
        self.channel = channel
        self.symbol_rate_hz = symbol_rate_hz
        self.metrics = EdgeMetrics()
        self.repeats = Repeats()
        # One at a time: two encodings side by side would only slow each other down. A request that is cancelled
        # leaves the queue; one that is already being encoded is finished and dropped.
        self.engines = Workers("edge-engine")
        self.metrics.watch_queue(lambda: self.engines.waiting)

    async def run(self, call: Callable[[], T], deadline_s: float = math.inf) -> T:
        """Wait for the thread of the engines and run there; see `Workers.run`.

        Raises:
            OverloadedError: too much waits for the engines already.
            DeadlineError: ``deadline_s`` passed, by the event loop's clock, before they were free.
            Exception: what the call raises.
        """

        def run() -> tuple[float, T]:
            return time.perf_counter(), call()

        came = time.perf_counter()
        with tracing.span("encode"):
            began, result = await self.engines.run(run, deadline_s)
            ended = time.perf_counter()
            tracing.record("queue", came, began)
            tracing.record("engine", began, ended)
        self.metrics.observe_encoding(began - came, ended - began)
        return result

    def learn(self, report: link_pb2.ChannelReport, asked: link_pb2.ChannelRequest) -> None:
        """Take in what the proxy stamped on a result.

        Args:
            report: of the proxy.
            asked: what the frame asked for: that says nothing of the link's own.
        """
        if not asked.HasField("snr_db") and math.isfinite(report.snr_db):
            self.channel = replace(self.channel, snr_db=report.snr_db)
            self.metrics.observe_snr_db(report.snr_db)
        if report.model and not asked.model:
            self.channel = replace(self.channel, model=report.model)
        if not asked.csi:
            self.learn_csi(report.csi)
        # Zero: a proxy that does not tell.
        if 0 < report.symbol_rate_hz < math.inf:
            self.symbol_rate_hz = report.symbol_rate_hz

    def learn_csi(self, text: str) -> None:
        """Take in what receivers know of the link's channel, if the proxy tells."""
        # Mostly it tells what it told last.
        if text and text != self.channel.csi.text:
            # A proxy of a later version may know more than we do.
            with suppress(InvalidRequestError):
                self.channel = replace(self.channel, csi=Csi.parse(text))

    def close(self) -> None:
        """Drop what still waits for the engines. The client is the caller's to close."""
        self.engines.close()
