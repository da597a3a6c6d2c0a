"""Processes that measure policies for a search: each holds the images, the engine and the classifier."""

import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from offline.data import LabelledImages
from offline.evaluate import Evaluator
from offline.latency import PairedLatency
from offline.meter import PolicyMeter
from policies.policy import Policy
from policies.record import ChannelProfile, MeasuredPolicy
from thinwire.bundle import Bundle, load_bundle

TIMED_IMAGES = 40

_meter: PolicyMeter


@dataclass(frozen=True)
class Task:
    """What the policies are measured on; it travels to the processes.

    Attributes:
        bundle: its folder.
        images: what to measure on.
        split: their name in the provenance.
        channels: of the objectives.
        seed: of the keyed noise.
        snrs_db: where to measure accuracy besides.
        timed: whether to measure the latency too.
        reference_ms: latency of the unmerged reference; measured where it is None.
    """

    bundle: Path
    images: LabelledImages
    split: str
    channels: tuple[ChannelProfile, ...]
    seed: int
    snrs_db: tuple[float, ...] = ()
    timed: bool = False
    reference_ms: float | None = None

    def meter(self) -> PolicyMeter:
        """What measures the policies."""
        bundle = load_bundle(str(self.bundle))
        evaluator = Evaluator.load(bundle, self.images)
        latency = None
        if self.timed:
            pixels = self.images.pixels[:TIMED_IMAGES]
            latency = PairedLatency(evaluator.engine, pixels, unmerged(bundle), self.reference_ms)
        return PolicyMeter(evaluator, self.channels, self.seed, self.split, self.snrs_db, latency)


def unmerged(bundle: Bundle) -> Policy:
    """The bundle's unmerged reference; at the highest rate where that was not measured yet."""
    reference = bundle.reference
    rate = bundle.codec.max_symbols_per_token if reference is None else reference.symbols_per_token
    return Policy.unmerged(bundle.split_layer, rate)


def pool(task: Task, processes: int) -> ProcessPoolExecutor:
    """As many processes, which share the processors evenly.

    They are spawned, since a fork of a process whose torch has threads can hang.
    """
    threads = max(1, torch.get_num_threads() // processes)
    return ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (task, threads))


def measure(policy: Policy) -> MeasuredPolicy:
    """Measure one policy on the task's first channel; in a process of `pool`."""
    return _meter.measure(policy)[0]


def measure_on_all(policy: Policy) -> tuple[MeasuredPolicy, ...]:
    """Measure one policy on every channel of the task; in a process of `pool`."""
    return _meter.measure(policy)


def _start(task: Task, threads: int) -> None:
    global _meter
    # Ctrl-C reaches every process of the terminal; the one that searches decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(threads)
    _meter = task.meter()
