"""What an edge counts for Prometheus."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Counter, Gauge

from thinwire.metrics import FrameSizes, Outcomes, Stages


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
