"""What a process does with the frames of its bundle's task."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cloud.batcher import Batcher
from cloud.metrics import CloudMetrics
from cloud.scheduling import ModelThread
from thinwire.bundle import Bundle
from thinwire.equalise import ReceivedTokens
from thinwire.errors import ThinwireError
from thinwire.v1 import link_pb2

T = TypeVar("T")
R = TypeVar("R")


class Task(Protocol):
    """One task over one model.

    Attributes:
        bundle: of the model.
    """

    bundle: Bundle

    def check(self, frame: link_pb2.Frame) -> None:
        """Refuse what a frame, sound so far, asks for and this task has not.

        Raises:
            InvalidRequestError: there is such a thing.
        """
        ...

    async def answer(
        self, frame: link_pb2.Frame, tokens: ReceivedTokens, result: link_pb2.Result, deadline_s: float = math.inf
    ) -> None:
        """Write the answer to a checked frame into its result.

        Args:
            deadline_s: when nobody waits for it any more, by the event loop's clock.
        """
        ...

    async def close(self) -> None:
        """Finish what runs, and refuse the rest."""
        ...


@dataclass(frozen=True)
class Batching:
    """How the batchers of a task run; see `cloud.batcher.Batcher`.

    Attributes:
        max_batch: most items in one run.
        max_queue: most items that wait.
        metrics: what takes in batches and queues.
        thread: of the model; None gives each batcher its own.
    """

    max_batch: int
    max_queue: int
    metrics: CloudMetrics
    thread: ModelThread | None = None

    def open(self, kind: str, run: Callable[[Sequence[T]], Sequence[R | ThinwireError]]) -> Batcher[T, R]:
        """A batcher, with metrics of this kind."""
        batcher: Batcher[T, R] = Batcher(
            run,
            self.max_batch,
            self.max_queue,
            self.thread,
            on_batch=self.metrics.batches(kind),
            on_passage=self.metrics.passages(kind),
        )
        self.metrics.watch_queue(kind, batcher.waiting)
        return batcher
