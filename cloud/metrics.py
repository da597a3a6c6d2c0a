"""What a cloud counts for Prometheus."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from prometheus_client import CollectorRegistry, Gauge, Histogram

from thinwire.metrics import SECONDS, TOKENS, BundleCounts, FrameSizes, FrameSnr, Outcomes, Stages

_BATCH = tuple(2**n for n in range(9))


class CloudMetrics:
    """What one cloud service counts. What is split is a "frame", what the plain model runs on is an "image".

    For the task "vqa", the model reads in frames and images, and answers each "question" in a run of its own; for
    "transcription" it hears frames and plain "audio", and writes each "transcript".

    Attributes:
        registry: what ``/metrics`` shows.
        requests: REST requests by outcome: plain images, and questions about frames.
        frames: frames by outcome, repeated ones included.
        questions: questions and transcripts by outcome, wherever they came from.
        bundles: what is counted by bundle.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Outcomes(
            "thinwire_requests",
            "REST requests by outcome: images, audio, held frames",
            "cloud",
            self.registry,
        )
        self.frames = Outcomes("thinwire_frames", "Frames by outcome, repeated ones included", "cloud", self.registry)
        self.questions = Outcomes("thinwire_questions", "Questions and transcripts by outcome", "cloud", self.registry)
        self._answers = Histogram(
            "thinwire_answer_tokens",
            "Tokens of an answer, its end included",
            buckets=TOKENS,
            registry=self.registry,
        )
        self._held = Gauge("thinwire_held_frames", "Frames that can be asked about", registry=self.registry)
        self._held_bytes = Gauge("thinwire_held_bytes", "Memory of what is kept of them", registry=self.registry)
        self._batches = Histogram(
            "thinwire_batch_size", "Items in one run of the model", ["kind"], buckets=_BATCH, registry=self.registry
        )
        self._queue = Gauge("thinwire_queue_length", "Items that wait for a model", ["kind"], registry=self.registry)
        self._lengths: dict[str, list[Callable[[], int]]] = {}
        self._waits, self._runs = (
            Histogram(name, documentation, ["kind"], buckets=SECONDS, registry=self.registry)
            for name, documentation in (
                ("thinwire_queue_seconds", "Time that an item waited for the model"),
                ("thinwire_model_seconds", "Time that the model took for an item's batch"),
            )
        )
        self.bundles = BundleCounts("cloud", "Sound frames", self.registry)
        self._sizes = FrameSizes("a sound frame", self.registry)
        self._snr = FrameSnr(self.registry)
        self._stages = Stages("cloud", ("receive", "cloud", "plain"), self.registry)

    def batches(self, kind: str) -> Callable[[float], None]:
        """What takes in the size of a batch of one kind of items, as "frame"."""
        return self._batches.labels(kind).observe

    def passages(self, kind: str) -> Callable[[float, float], None]:
        """What takes in how long one of these waited for the model and was in it, in seconds."""
        waits, runs = self._waits.labels(kind), self._runs.labels(kind)

        def observe(queue_s: float, model_s: float) -> None:
            waits.observe(queue_s)
            runs.observe(model_s)

        return observe

    def watch_queue(self, kind: str, length: Callable[[], int]) -> None:
        """Show the length of the queue of one kind of items, asked for at each scrape."""
        lengths = self._lengths.setdefault(kind, [])
        lengths.append(length)
        self._queue.labels(kind).set_function(lambda: sum(one() for one in lengths))

    def watch_held(self, frames: Callable[[], int], nbytes: Callable[[], int]) -> None:
        """Show how many frames can be asked about, and the memory that they take, asked for at each scrape."""
        self._held.set_function(frames)
        self._held_bytes.set_function(nbytes)

    def observe_answer(self, tokens: int) -> None:
        """Take in how many tokens an answer or a transcript has."""
        self._answers.observe(tokens)

    def receiving(self) -> AbstractContextManager[None]:
        """Take in the time of the block that checks and equalises a frame: the stage "receive"."""
        return self._stages.timing("receive")

    def observe_frame_size(self, bundle: str, tokens: int, channel_uses: int, snr_db: float | None) -> None:
        """Take in what a sound frame of this bundle says of itself; None for one that no proxy stamped."""
        self.bundles.observe_frame(bundle, tokens, channel_uses)
        self._sizes.observe(tokens, channel_uses)
        if snr_db is not None:
            self._snr.observe(snr_db)

    def observe_frame(self, seconds: float) -> None:
        """Take in the time of an answered frame: the stage "cloud"."""
        self._stages.observe("cloud", seconds)

    def observe_image(self, seconds: float) -> None:
        """Take in the time of an answered plain image, its upload left out: the stage "plain"."""
        self._stages.observe("plain", seconds)
