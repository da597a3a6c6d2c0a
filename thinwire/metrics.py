"""What the edge and the cloud count for Prometheus, each service in a registry of its own.

Labels take values from lists that we hold (services, stages, kinds, the codes of `thinwire.errors`) and never from what
a client sent: every new value is a series that is kept until the process ends.
"""

import asyncio
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.requests import ClientDisconnect

from thinwire.errors import ThinwireError

OK = "ok"
CANCELLED = "cancelled"
_TOKENS = tuple(2**n for n in range(11))
_USES = tuple(4**n for n in range(1, 9))
_BATCH = tuple(2**n for n in range(9))
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Outcomes:
    """A counter of what became of requests or frames.

    Args:
        name: without the ``_total`` that is added.
        documentation: one line.
        service: who counts.
        registry: where it is shown.
    """

    def __init__(self, name: str, documentation: str, service: str, registry: CollectorRegistry) -> None:
        self._counter = Counter(name, documentation, ["service", "outcome"], registry=registry)
        self._service = service
        # There from the start: what appears with its first increment has no rate before the second.
        self._counter.labels(service, OK)

    def count(self, outcome: str) -> None:
        """Count one: "ok", "cancelled" or the code of an error."""
        self._counter.labels(self._service, outcome).inc()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count the block, by how it ends."""
        with self.counting_failure():
            yield
        self.count(OK)

    @contextmanager
    def counting_failure(self) -> Iterator[None]:
        """Count the block only if it raises: what comes after it counts the rest."""
        try:
            yield
        except BaseException as error:
            self.count(_outcome(error))
            raise


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError | ClientDisconnect):
        return CANCELLED
    return error.code if isinstance(error, ThinwireError) else ThinwireError.code


class _Stages:
    """Latency by stage."""

    def __init__(self, service: str, stages: tuple[str, ...], registry: CollectorRegistry) -> None:
        documentation = "Time that a stage took of what was answered"
        histogram = Histogram(
            "thinwire_stage_seconds", documentation, ["service", "stage"], buckets=_SECONDS, registry=registry
        )
        self._stages = {stage: histogram.labels(service, stage) for stage in stages}

    def observe(self, stage: str, seconds: float) -> None:
        # Some times are told by a peer, and one NaN would spoil the sum for good.
        if math.isfinite(seconds) and seconds >= 0:
            self._stages[stage].observe(seconds)


class EdgeMetrics:
    """What one edge service counts.

    Attributes:
        registry: what ``/metrics`` shows.
        requests: images by outcome, those of streams included.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes("thinwire_requests", "Images by outcome", "edge", self.registry)
        self._tokens = Histogram(
            "thinwire_frame_tokens", "Tokens of an answered frame", buckets=_TOKENS, registry=self.registry
        )
        self._uses = Histogram(
            "thinwire_frame_channel_uses",
            "Channel uses of an answered frame, pilots and side information included",
            buckets=_USES,
            registry=self.registry,
        )
        self._capped = Counter(
            "thinwire_capped_frames", "Answered frames merged further to fit their cap", registry=self.registry
        )
        self._snr = Gauge("thinwire_snr_db", "Average SNR in dB as fed back last", registry=self.registry)
        # Zero would be an SNR like any other; nothing has been heard yet.
        self._snr.set(math.nan)
        self._stages = _Stages("edge", ("edge", "channel", "cloud", "total"), self.registry)

    def observe_frame(self, tokens: int, channel_uses: int, capped: bool) -> None:
        """Take in the size of a frame that was answered."""
        self._tokens.observe(tokens)
        self._uses.observe(channel_uses)
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


class CloudMetrics:
    """What one cloud service counts. What is split is a "frame", what the plain model runs on is an "image".

    Attributes:
        registry: what ``/metrics`` shows.
        requests: plain images by outcome.
        frames: frames by outcome, repeated ones included.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes("thinwire_requests", "Images by outcome", "cloud", self.registry)
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "cloud", self.registry)
        self._batches = Histogram(
            "thinwire_batch_size", "Items in one run of the model", ["kind"], buckets=_BATCH, registry=self.registry
        )
        self._queue = Gauge("thinwire_queue_length", "Items that wait for the model", ["kind"], registry=self.registry)
        self._stages = _Stages("cloud", ("cloud", "plain"), self.registry)

    def batches(self, kind: str) -> Callable[[float], None]:
        """What takes in the size of a batch of "frame" or "image"."""
        return self._batches.labels(kind).observe

    def watch_queue(self, kind: str, length: Callable[[], int]) -> None:
        """Show the length of the queue of "frame" or "image", asked for at each scrape."""
        self._queue.labels(kind).set_function(length)

    def observe_frame(self, seconds: float) -> None:
        """Take in the time of an answered frame: the stage "cloud"."""
        self._stages.observe("cloud", seconds)

    def observe_image(self, seconds: float) -> None:
        """Take in the time of an answered plain image, its upload left out: the stage "plain"."""
        self._stages.observe("plain", seconds)
