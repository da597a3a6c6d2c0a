"""What the processes count alike for Prometheus, each in a registry of its own.

Labels take values from lists that we hold (services, stages, kinds, the codes of `thinwire.errors`) and never from what
a client sent: every new value is a series that is kept until the process ends.
"""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from thinwire.rpc import OK, outcome_of

TOKENS = tuple(2**n for n in range(11))
_USES = tuple(4**n for n in range(1, 9))
_SNR_DB = tuple(range(-30, 61, 5))
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


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


class Stages:
    """Latency by stage."""

    def __init__(self, service: str, stages: tuple[str, ...], registry: CollectorRegistry) -> None:
        documentation = "Time that a stage took where it succeeded"
        histogram = Histogram(
            "thinwire_stage_seconds", documentation, ["service", "stage"], buckets=SECONDS, registry=registry
        )
        self._stages = {stage: histogram.labels(service, stage) for stage in stages}

    def observe(self, stage: str, seconds: float) -> None:
        """Take in the time of a stage."""
        # Some times are told by a peer, and one NaN would spoil the sum for good.
        if math.isfinite(seconds) and seconds >= 0:
            self._stages[stage].observe(seconds)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Take in the time of the block, unless it raises."""
        start = time.perf_counter()
        yield
        self.observe(stage, time.perf_counter() - start)


class FrameSizes:
    """Tokens and channel uses by frame."""

    def __init__(self, which: str, registry: CollectorRegistry) -> None:
        self._tokens = Histogram("thinwire_frame_tokens", f"Tokens of {which}", buckets=TOKENS, registry=registry)
        self._uses = Histogram(
            "thinwire_frame_channel_uses",
            f"Channel uses of {which}, pilots and side information included",
            buckets=_USES,
            registry=registry,
        )

    def observe(self, tokens: int, channel_uses: int) -> None:
        """Take in the size of a frame."""
        self._tokens.observe(tokens)
        self._uses.observe(channel_uses)


class BundleCounts:
    """What a process counts by bundle, beside its totals over all of them: sums, since histograms would be many.

    Args:
        service: who counts.
        which: the frames that it counts.
        registry: where it is shown.
    """

    def __init__(self, service: str, which: str, registry: CollectorRegistry) -> None:
        self._service = service
        self._frames, self._tokens, self._uses, self._seconds = (
            Counter(f"thinwire_bundle_{name}", documentation, ["service", "bundle"], registry=registry)
            for name, documentation in (
                ("frames", f"{which} of a bundle"),
                ("tokens", "Tokens of these frames"),
                ("channel_uses", "Channel uses of these frames, pilots and side information included"),
                ("model_seconds", "Time for which the bundle's model ran"),
            )
        )

    def add(self, bundle: str) -> None:
        """Show a bundle's counters from now on: what appears with its first increment has no rate before the second."""
        for counter in (self._frames, self._tokens, self._uses, self._seconds):
            counter.labels(self._service, bundle)

    def observe_frame(self, bundle: str, tokens: int, channel_uses: int) -> None:
        """Take in the size of a frame."""
        self._frames.labels(self._service, bundle).inc()
        self._tokens.labels(self._service, bundle).inc(tokens)
        self._uses.labels(self._service, bundle).inc(channel_uses)

    def observe_model(self, bundle: str, seconds: float) -> None:
        """Take in how long the bundle's model ran."""
        self._seconds.labels(self._service, bundle).inc(seconds)


class FrameSnr:
    """SNR by frame, where frames of many links meet.

    A gauge would show the link that happened to speak last, and a label would take the links' names from their senders.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._snr = Histogram(
            "thinwire_frame_snr_db", "Average SNR in dB stamped on a frame", buckets=_SNR_DB, registry=registry
        )

    def observe(self, snr_db: float) -> None:
        """Take in the SNR of a frame, in dB."""
        # At the cloud it is whatever the peer wrote.
        if math.isfinite(snr_db):
            self._snr.observe(snr_db)
