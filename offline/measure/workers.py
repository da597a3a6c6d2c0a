"""Processes that measure policies for a search: each holds the images, the engine and the classifier."""

import logging
import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import ParamSpec, TypeVar

import numpy as np
import torch

from offline.measure.evaluator import Evaluator
from offline.measure.inputs import inputs_of
from offline.measure.judges import Samples
from offline.measure.meter import PairedLatency, PolicyMeter
from policies.policy import MeasuredPolicy, Policy
from thinwire.bundle import Bundle, load_bundle
from thinwire.channels import Channel
from thinwire.errors import EvaluationError
from thinwire.nn.placement import CPU, Placement

_P = ParamSpec("_P")
_S = TypeVar("_S")
_T = TypeVar("_T")
log = logging.getLogger(__name__)

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
        placement: where the weights lie.
    """

    bundle: Path
    images: Samples
    split: str
    channels: tuple[Channel, ...]
    seed: int
    snrs_db: tuple[float, ...] = ()
    timed: bool = False
    reference_ms: float | None = None
    placement: Placement = CPU

    def meter(self) -> PolicyMeter:
        """What measures the policies."""
        bundle = load_bundle(str(self.bundle))
        evaluator = Evaluator.load(bundle, self.images, self.placement)
        latency = None
        if self.timed:
            timed = self.images.take(np.arange(min(TIMED_IMAGES, len(self.images))))
            inputs = inputs_of(timed, evaluator.engine)
            latency = PairedLatency(evaluator.engine, inputs, unmerged(bundle), self.reference_ms)
        return PolicyMeter(evaluator, self.channels, self.seed, self.split, self.snrs_db, latency)


def unmerged(bundle: Bundle) -> Policy:
    """The bundle's unmerged reference; at the highest rate where that was not measured yet."""
    reference = bundle.reference
    rate = bundle.codec.max_symbols_per_token if reference is None else reference.symbols_per_token
    return Policy.unmerged(bundle.steps, rate)


@contextmanager
def pool(task: Task, processes: int) -> Iterator[Executor]:
    """As many processes, which share the processors evenly and end with this one, whatever ends it.

    They are spawned, since a fork of a process whose torch has threads can hang. An error in the ``with`` block ends
    them at once: whoever wants what is in flight waits for it before.

    Raises:
        EvaluationError: a process died.
    """
    threads = max(1, torch.get_num_threads() // processes)
    others = multiprocessing.active_children()
    # Images through the pipe that starts a process would hang for good, were that to die before it has read them.
    file = NamedTemporaryFile(prefix="thinwire-")  # noqa: SIM115
    pickle.dump(task, file)
    file.flush()
    executor = _Pool(processes, multiprocessing.get_context("spawn"), _start, (file.name, threads))
    try:
        yield executor
    except BrokenExecutor as error:
        raise EvaluationError(
            "a process of the pool died (killed, or out of memory?); what was measured is kept: run it again"
        ) from error
    except BaseException:
        for process in multiprocessing.active_children():
            if process not in others:
                process.terminate()
        raise
    finally:
        executor.shutdown(cancel_futures=True)
        file.close()


class _Pool(ProcessPoolExecutor):
    # Ctrl-C reaches every process of the terminal; the one that searches decides what it means. Its processes are born
    # within `submit` and inherit that it is held back, so that it cannot meet them while they still load torch.
    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def run_all(
    executor: Executor,
    call: Callable[[_S], _T],
    items: Iterable[_S],
    parallel: int,
    keep: Callable[[_T], None],
) -> Iterator[None]:
    """Call a function on every item, so many at once, and keep every answer as soon as it is there.

    Whatever ends it, what is in flight is waited for and kept; a second Ctrl-C drops it.

    Yields:
        after each.
    """
    waiting = iter(items)
    running: set[Future[_T]] = set()
    try:
        while True:
            running.update(executor.submit(call, item) for item in islice(waiting, parallel - len(running)))
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                keep(future.result())
                running.remove(future)
                yield
    except BaseException:
        if unfinished := [future for future in running if not future.done()]:
            log.warning("stopping after the %d in flight", len(unfinished))
        for future in wait(running).done:
            if future.exception() is None:
                keep(future.result())
        raise


def measure(policies: Sequence[Policy]) -> list[tuple[MeasuredPolicy, ...]]:
    """Measure a policy and relatives of its thresholds, for each channel of the task; in a process of `pool`."""
    first, *relatives = policies
    return list(zip(*_meter.measure_with(first, relatives), strict=True))


def measure_all(policies: Sequence[Policy]) -> list[tuple[MeasuredPolicy, ...]]:
    """Measure policies, each on every channel of the task; in a process of `pool`."""
    return [_meter.measure(policy) for policy in policies]


def _start(task: str, threads: int) -> None:
    global _meter
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    with open(task, "rb") as file:
        _meter = pickle.load(file).meter()


def _end_with_parent() -> None:
    # Whoever waits for work never hears that nobody is left to give any: the queue's other end is its own, too.
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
