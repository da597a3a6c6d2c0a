"""What each process counts for Prometheus, in a registry of its own.

Labels take values from lists that we hold (services, stages, kinds, the codes of `thinwire.errors`) and never from what
a client sent: every new value is a series that is kept until the process ends.
"""

import math
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.samples import Sample

from thinwire.outcomes import OK, outcome_of
from thinwire.v1 import link_pb2

_TOKENS = tuple(2**n for n in range(11))
_USES = tuple(4**n for n in range(1, 9))
_SNR_DB = tuple(range(-30, 61, 5))
_BATCH = tuple(2**n for n in range(9))
_PENDING = 512
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Histogram(prometheus_client.Histogram):
    """One that sorts values into its buckets when it is shown, or when there are many.

    A service takes in seven values a frame. At once, each goes through a search, two locks and as many calls; together
    they go through them once.
    """

    def _metric_init(self) -> None:
        super()._metric_init()
        # Its ends are safe where one thread observes and another shows.
        self._pending: deque[float] = deque()

    def observe(self, amount: float, exemplar: dict[str, str] | None = None) -> None:
        """Take in a value; there are no exemplars here."""
        self._pending.append(amount)
        if len(self._pending) >= _PENDING:
            self._sort()

    def _child_samples(self) -> Iterable[Sample]:
        self._sort()
        return super()._child_samples()

    def _sort(self) -> None:
        counts, total = [0] * len(self._upper_bounds), 0.0
        with suppress(IndexError):
            while True:
                amount = self._pending.popleft()
                total += amount
                counts[bisect_left(self._upper_bounds, amount)] += 1
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


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
        self._ok = self._counter.labels(service, OK)

    def count(self, outcome: str) -> None:
        """Count one: "ok", "cancelled" or the code of an error."""
        (self._ok if outcome == OK else self._counter.labels(self._service, outcome)).inc()

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
            self.count(outcome_of(error))
            raise


class _Stages:
    """Latency by stage."""

    def __init__(self, service: str, stages: tuple[str, ...], registry: CollectorRegistry) -> None:
        documentation = "Time that a stage took where it succeeded"
        histogram = Histogram(
            "thinwire_stage_seconds", documentation, ["service", "stage"], buckets=_SECONDS, registry=registry
        )
        self._stages = {stage: histogram.labels(service, stage) for stage in stages}

    def observe(self, stage: str, seconds: float) -> None:
        # Some times are told by a peer, and one NaN would spoil the sum for good.
        if math.isfinite(seconds) and seconds >= 0:
            self._stages[stage].observe(seconds)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Take in the time of the block, unless it raises."""
        start = time.perf_counter()
        yield
        self.observe(stage, time.perf_counter() - start)


class _Sizes:
    """Tokens and channel uses by frame."""

    def __init__(self, which: str, registry: CollectorRegistry) -> None:
        self._tokens = Histogram("thinwire_frame_tokens", f"Tokens of {which}", buckets=_TOKENS, registry=registry)
        self._uses = Histogram(
            "thinwire_frame_channel_uses",
            f"Channel uses of {which}, pilots and side information included",
            buckets=_USES,
            registry=registry,
        )

    def observe(self, tokens: int, channel_uses: int) -> None:
        self._tokens.observe(tokens)
        self._uses.observe(channel_uses)


class _FrameSnr:
    """SNR by frame, where frames of many links meet.

    A gauge would show the link that happened to speak last, and a label would take the links' names from their senders.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._snr = Histogram(
            "thinwire_frame_snr_db", "Average SNR in dB stamped on a frame", buckets=_SNR_DB, registry=registry
        )

    def observe(self, snr_db: float) -> None:
        # At the cloud it is whatever the peer wrote.
        if math.isfinite(snr_db):
            self._snr.observe(snr_db)


class EdgeMetrics:
    """What one edge service counts.

    Attributes:
        registry: what ``/metrics`` shows.
        requests: images by outcome, those of streams included.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes("thinwire_requests", "Images by outcome", "edge", self.registry)
        self._sizes = _Sizes("an answered frame", self.registry)
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
        self._stages = _Stages("edge", stages, self.registry)

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


class CloudMetrics:
    """What one cloud service counts. What is split is a "frame", what the plain model runs on is an "image".

    For the task "vqa", the model reads in frames and images, and answers each "question" in a run of its own.

    Attributes:
        registry: what ``/metrics`` shows.
        requests: REST requests by outcome: plain images, and questions about frames.
        frames: frames by outcome, repeated ones included.
        questions: questions by outcome, wherever they came from.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes(
            "thinwire_requests", "REST requests by outcome: images, questions about frames", "cloud", self.registry
        )
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "cloud", self.registry)
        self.questions = Outcomes("thinwire_questions", "Questions by outcome", "cloud", self.registry)
        self._answers = Histogram(
            "thinwire_answer_tokens", "Tokens of an answer, its end included", buckets=_TOKENS, registry=self.registry
        )
        self._held = Gauge("thinwire_held_frames", "Frames that can be asked about", registry=self.registry)
        self._held_bytes = Gauge("thinwire_held_bytes", "Memory of what is kept of them", registry=self.registry)
        self._batches = Histogram(
            "thinwire_batch_size", "Items in one run of the model", ["kind"], buckets=_BATCH, registry=self.registry
        )
        self._queue = Gauge("thinwire_queue_length", "Items that wait for a model", ["kind"], registry=self.registry)
        self._lengths: dict[str, list[Callable[[], int]]] = {}
        self._waits, self._runs = (
            Histogram(name, documentation, ["kind"], buckets=_SECONDS, registry=self.registry)
            for name, documentation in (
                ("thinwire_queue_seconds", "Time that an item waited for the model"),
                ("thinwire_model_seconds", "Time that the model took for an item's batch"),
            )
        )
        self._sizes = _Sizes("a sound frame", self.registry)
        self._snr = _FrameSnr(self.registry)
        self._stages = _Stages("cloud", ("receive", "cloud", "plain"), self.registry)

    def batches(self, kind: str) -> Callable[[float], None]:
        """What takes in the size of a batch of "frame", "image" or "question"."""
        return self._batches.labels(kind).observe

    def passages(self, kind: str) -> Callable[[float, float], None]:
        """What takes in how long one of these waited for the model and was in it, in seconds."""
        waits, runs = self._waits.labels(kind), self._runs.labels(kind)

        def observe(queue_s: float, model_s: float) -> None:
            waits.observe(queue_s)
            runs.observe(model_s)

        return observe

    def watch_queue(self, kind: str, length: Callable[[], int]) -> None:
        """Show the length of the queue of "frame", "image" or "question", asked for at each scrape."""
        lengths = self._lengths.setdefault(kind, [])
        lengths.append(length)
        self._queue.labels(kind).set_function(lambda: sum(one() for one in lengths))

    def watch_held(self, frames: Callable[[], int], nbytes: Callable[[], int]) -> None:
        """Show how many frames can be asked about, and the memory that they take, asked for at each scrape."""
        self._held.set_function(frames)
        self._held_bytes.set_function(nbytes)

    def observe_answer(self, tokens: int) -> None:
        """Take in how many tokens an answer has."""
        self._answers.observe(tokens)

    def receiving(self) -> AbstractContextManager[None]:
        """Take in the time of the block that checks and equalises a frame: the stage "receive"."""
        return self._stages.timing("receive")

    def observe_frame_size(self, tokens: int, channel_uses: int, snr_db: float | None) -> None:
        """Take in what a sound frame says of itself; None for one that no proxy stamped."""
        self._sizes.observe(tokens, channel_uses)
        if snr_db is not None:
            self._snr.observe(snr_db)

    def observe_frame(self, seconds: float) -> None:
        """Take in the time of an answered frame: the stage "cloud"."""
        self._stages.observe("cloud", seconds)

    def observe_image(self, seconds: float) -> None:
        """Take in the time of an answered plain image, its upload left out: the stage "plain"."""
        self._stages.observe("plain", seconds)


class ChannelMetrics:
    """What one proxy counts. A frame that comes again is another frame here: it is sent again.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "channel", self.registry)
        self._in_flight = Gauge("thinwire_frames_in_flight", "Frames without an answer yet", registry=self.registry)
        uses = Counter("thinwire_channel_uses", "Channel uses by part", ["part"], registry=self.registry)
        self._payload, self._pilots, self._side_information = (
            uses.labels(part) for part in ("payload", "pilots", "side_information")
        )
        self._airtime = Counter(
            "thinwire_airtime_seconds", "Time that frames occupied the channel", registry=self.registry
        )
        self._snr = _FrameSnr(self.registry)
        self._stages = _Stages("channel", ("channel", "upstream"), self.registry)

    @contextmanager
    def carrying(self) -> Iterator[None]:
        """Count a frame, in flight during the block and then by how it ends."""
        with self.frames.counting(), self._in_flight.track_inprogress():
            yield

    def observe_transmission(self, report: link_pb2.ChannelReport) -> None:
        """Take in what a frame cost that enters the channel, whatever becomes of it later."""
        self._payload.inc(report.payload_uses)
        self._pilots.inc(report.pilot_uses)
        self._side_information.inc(report.side_information_uses)
        self._airtime.inc(report.airtime_ms / 1e3)
        self._snr.observe(report.snr_db)

    def observe_stages(self, channel_s: float, upstream_s: float) -> None:
        """Take in how long an answered frame was in the proxy, and how long the proxy waited for the cloud."""
        self._stages.observe("channel", channel_s)
        self._stages.observe("upstream", upstream_s)
