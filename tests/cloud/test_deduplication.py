import asyncio

import pytest

from cloud.deduplication import Deduplicator
from cloud.held_frames import HeldFrames
from thinwire.errors import DeadlineError, IdTakenError

KEY = ("link", "0" * 32, 0)


def remembering(frames, seconds):
    return Deduplicator(HeldFrames(frames, seconds, 0, lambda result: 0))


class Work:
    """Counts how often it starts, ends and is cancelled; ends when ``gate`` is set."""

    def __init__(self, error=None):
        self.started = self.cancelled = 0
        self.gate = asyncio.Event()
        self.error = error

    def __call__(self):
        return asyncio.ensure_future(self._run())

    async def _run(self):
        self.started += 1
        number = self.started
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_repetitions_share_the_work():
    frames, work = remembering(10, 60.0), Work()
    callers = [asyncio.create_task(frames.share(KEY, b"a", work)) for _ in range(3)]
    await settle()
    work.gate.set()
    assert await asyncio.gather(*callers) == [1, 1, 1]
    assert work.started == 1


async def test_a_repetition_with_more_time_outlives_the_one_that_started_the_work():
    frames, late, work = remembering(10, 60.0), Work(DeadlineError("time is up")), Work()
    late.gate.set()
    work.gate.set()
    first = asyncio.create_task(frames.share(KEY, b"a", late, 1.0))
    second = asyncio.create_task(frames.share(KEY, b"a", work, 2.0))
    third = asyncio.create_task(frames.share(KEY, b"a", work, 1.0))
    results = await asyncio.gather(first, second, third, return_exceptions=True)
    assert [type(result) for result in results] == [DeadlineError, int, DeadlineError]
    assert (late.started, work.started) == (1, 1)


async def test_a_later_repetition_gets_the_stored_result():
    frames, work = remembering(10, 60.0), Work()
    work.gate.set()
    assert [await frames.share(KEY, b"a", work) for _ in range(3)] == [1, 1, 1]


@pytest.mark.parametrize("other", [("link", "0" * 32, 1), ("other", "0" * 32, 0), ("link", "1" * 32, 0)])
async def test_every_part_of_the_name_counts(other):
    frames, work = remembering(10, 60.0), Work()
    work.gate.set()
    assert await frames.share(KEY, b"a", work) == 1
    assert await frames.share(other, b"a", work) == 2


async def test_another_content_under_the_same_name_is_refused():
    frames, work = remembering(10, 60.0), Work()
    first = asyncio.create_task(frames.share(KEY, b"a", work))
    await settle()
    with pytest.raises(IdTakenError, match="another frame"):
        await frames.share(KEY, b"b", work)
    work.gate.set()
    assert await first == 1
    with pytest.raises(IdTakenError, match="another frame"):
        await frames.share(KEY, b"b", work)
    assert work.started == 1


async def test_a_failure_reaches_all_that_wait_and_is_not_remembered(caplog):
    frames, work = remembering(10, 60.0), Work(ValueError("no"))
    callers = [asyncio.create_task(frames.share(KEY, b"a", work)) for _ in range(2)]
    await settle()
    work.gate.set()
    assert [str(error) for error in await asyncio.gather(*callers, return_exceptions=True)] == ["no", "no"]
    work.error = None
    # Not even its content is: the repaired frame is a new one.
    assert await frames.share(KEY, b"b", work) == 2
    # Of asyncio, which would say that nobody had looked at the error.
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_cancelled_caller_leaves_the_work_to_the_others():
    frames, work = remembering(10, 60.0), Work()
    first, second = (asyncio.create_task(frames.share(KEY, b"a", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    work.gate.set()
    assert await second == 1
    assert first.cancelled()
    assert (work.started, work.cancelled) == (1, 0)


async def test_the_last_caller_takes_the_work_along():
    frames, work = remembering(10, 60.0), Work()
    callers = [asyncio.create_task(frames.share(KEY, b"a", work)) for _ in range(2)]
    await settle()
    for caller in callers:
        caller.cancel()
    await settle()
    assert (work.started, work.cancelled) == (1, 1)
    work.gate.set()
    assert await frames.share(KEY, b"a", work) == 2


async def test_a_repetition_does_not_join_work_that_is_being_cancelled():
    frames, work = remembering(10, 60.0), Work()
    first = asyncio.create_task(frames.share(KEY, b"a", work))
    await settle()
    first.cancel()
    # One turn of the loop: the caller is gone, its work has not noticed yet.
    await asyncio.sleep(0)
    second = asyncio.create_task(frames.share(KEY, b"a", work))
    await settle()
    work.gate.set()
    assert await second == 2
    assert await frames.share(KEY, b"a", work) == 2


async def test_results_are_forgotten_in_time():
    frames, work = remembering(10, 0.02), Work()
    work.gate.set()
    assert await frames.share(KEY, b"a", work) == 1
    await asyncio.sleep(0.03)
    assert await frames.share(KEY, b"b", work) == 2


async def test_the_oldest_result_gives_way():
    frames, work = remembering(2, 60.0), Work()
    work.gate.set()
    keys = [("link", "0" * 32, number) for number in range(3)]
    assert [await frames.share(key, b"a", work) for key in keys] == [1, 2, 3]
    assert [await frames.share(key, b"a", work) for key in keys[1:]] == [2, 3]
    assert await frames.share(keys[0], b"a", work) == 4
