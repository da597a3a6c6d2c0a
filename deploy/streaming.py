"""Pictures to a running edge as a stream: several under way, answers in order."""

import asyncio
import time
from array import array
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from deploy.pictures import Picture
from thinwire.errors import ThinwireError

# As many as the edge itself overlaps: enough to keep its engine and the link busy.
OVERLAP = 4

Ask = Callable[[int, Picture], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Answered:
    """A picture and what came of it.

    Attributes:
        number: of the picture in the stream, from 0.
        picture: its name.
        answer: the body of REST, which has an ``error`` where whoever asked takes that for an answer.
        began_s: when it was sent; in a stream with a rate, when it was due. Seconds of a monotonic clock.
        ended_s: when the answer came.
    """

    number: int
    picture: str
    answer: dict[str, Any]
    began_s: float
    ended_s: float

    @property
    def milliseconds(self) -> float:
        """Time to answer."""
        return 1e3 * (self.ended_s - self.began_s)

    @property
    def lost(self) -> bool:
        """Whether the answer is an error."""
        return "error" in self.answer


async def stream(
    pictures: Iterable[Picture], ask: Ask, overlap: int = OVERLAP, per_second: float | None = None
) -> AsyncGenerator[Answered]:
    """Ask about pictures as they come; at most ``overlap``, and one that waits, are held at a time.

    With a rate, picture k is due k / ``per_second`` seconds after the first. One that is sent later than that, because
    others are still under way, counts its time from when it was due: a camera does not wait.

    Args:
        pictures: read in a thread, one ahead.
        ask: sends a picture of that number and returns the answer.
        overlap: pictures under way at once.
        per_second: how many to send a second; None: as fast as they are answered.

    Yields:
        the answers, in the order of the pictures.

    Raises:
        ThinwireError: what reading or asking raised first, in the order of the pictures.
    """
    source = iter(pictures)
    room = asyncio.Semaphore(overlap)
    order: asyncio.Queue[asyncio.Task[Answered] | None] = asyncio.Queue()
    tasks: set[asyncio.Task[Answered]] = set()

    async def answered(number: int, picture: Picture, began_s: float) -> Answered:
        try:
            answer = await ask(number, picture)
        except ThinwireError as error:
            raise type(error)(f"frame {number} ({picture.name}): {error}") from error
        return Answered(number, picture.name, answer, began_s, time.monotonic())

    async def read() -> None:
        number, first_s = 0, None
        try:
            while (picture := await asyncio.to_thread(next, source, None)) is not None:
                due_s = None
                if per_second is not None:
                    first_s = time.monotonic() if first_s is None else first_s
                    due_s = first_s + number / per_second
                    await asyncio.sleep(due_s - time.monotonic())
                await room.acquire()
                task = asyncio.create_task(answered(number, picture, due_s or time.monotonic()))
                tasks.add(task)
                order.put_nowait(task)
                number += 1
        finally:
            order.put_nowait(None)

    reader = asyncio.create_task(read())
    try:
        while (task := await order.get()) is not None:
            found = await task
            tasks.discard(task)
            room.release()
            yield found
        await reader
    finally:
        for pending in (reader, *tasks):
            pending.cancel()
        await asyncio.gather(reader, *tasks, return_exceptions=True)


class Tally:
    """What a stream comes to, of any length: a few bytes are kept of each answer."""

    def __init__(self) -> None:
        self._times_ms = array("d")
        self._uses = self._switches = self._lost = 0
        self._began_s = self._ended_s = 0.0
        self._policy: str | None = None

    def add(self, answered: Answered) -> None:
        """Count an answer; they come in order."""
        if answered.lost:
            self._lost += 1
            return
        # The cloud's plain model answers without a link and a policy.
        link = answered.answer["link"]
        policy = answered.answer["policy"]["id"] if link else None
        if not self._times_ms:
            self._began_s, self._policy = answered.began_s, policy
        self._switches += policy != self._policy
        self._policy = policy
        self._uses += link["channel_uses"] if link else 0
        self._times_ms.append(answered.milliseconds)
        self._ended_s = max(self._ended_s, answered.ended_s)

    def figures(self) -> dict[str, float] | None:
        """What was counted, from the first picture to the last answer; None: there was no answer.

        Returns:
            ``frames`` that were answered and ``frames_per_second``; ``lost``, those that were not;
            ``channel_uses_mean`` of a frame and ``channel_uses_per_second``; ``median_ms`` and ``p95_ms`` (the 95%
            quantile) of the time to answer; and ``policy_switches``, how often a frame's policy was not that of the
            frame before.
        """
        frames, seconds = len(self._times_ms), self._ended_s - self._began_s
        if not frames:
            return None
        median_ms, p95_ms = np.quantile(self._times_ms, (0.5, 0.95)).tolist()
        return {
            "frames": frames,
            "lost": self._lost,
            "frames_per_second": frames / seconds,
            "channel_uses_mean": self._uses / frames,
            "channel_uses_per_second": self._uses / seconds,
            "median_ms": median_ms,
            "p95_ms": p95_ms,
            "policy_switches": self._switches,
        }
