"""What all bundles on one device share: its link and what it knows of that, the thread of the engines, the counters."""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from edge.link_client import LinkClient
from edge.metrics import EdgeMetrics
from edge.repeats import Repeats
from thinwire import tracing
from thinwire.channels import NOMINAL, Channel
from thinwire.csi import Csi
from thinwire.errors import InvalidRequestError
from thinwire.v1 import link_pb2
from thinwire.workers import Workers

T = TypeVar("T")


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
            with contextlib.suppress(InvalidRequestError):
                self.channel = replace(self.channel, csi=Csi.parse(text))

    def close(self) -> None:
        """Drop what still waits for the engines. The client is the caller's to close."""
        self.engines.close()
