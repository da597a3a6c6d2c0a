"""The queue in front of the model: the most urgent first, none whose time is up, as many as it has time for."""

import asyncio
import contextlib
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.batcher import Batcher
from cloud.scheduling import ModelThread
from tests.cloud.conftest import Doubler
from tests.cloud.test_batcher import occupy
from thinwire.errors import DeadlineError, OverloadedError


class Runs:
    """A pace whose runs cost what they are told to, and that waits as it is told to."""

    def __init__(self, fixed=0.0, each=0.0, wait=0.0):
        self.fixed, self.each, self.wait = fixed, each, wait
        self.ended = []

    def seconds(self, size):
        return self.fixed + self.each * size

    def size(self, most, slack_s):
        return int(max(1, min(most, (slack_s - self.fixed) / self.each))) if self.each else most

    def wait_s(self, waiting, slack_s):
        return min(self.wait, slack_s)

    def ran(self, size, seconds):
        self.ended.append(size)

    def free(self, now_s, waiting): ...

    def came(self, now_s): ...


def paced(batcher, **costs):
    batcher._pace = Runs(**costs)
    return batcher


async def queued(batcher, run, until, items):
    """Tasks of (item, seconds from now until its deadline), all behind one item that keeps the model busy."""
    running = await occupy(batcher, run, until)
    now_s = asyncio.get_running_loop().time()
    tasks = [asyncio.create_task(batcher.submit(item, now_s + seconds)) for item, seconds in items]
    await until(lambda: batcher.waiting() == len(items))
    return running, tasks


async def finish(batcher, run, running, tasks):
    run.gate.set()
    results = await asyncio.gather(running, *tasks, return_exceptions=True)
    await batcher.close()
    return results[1:]


@settings(max_examples=20, deadline=None)
@given(deadlines=st.lists(st.one_of(st.integers(100, 120), st.just(math.inf)), min_size=1, max_size=12))
def test_the_earliest_deadline_runs_first_and_of_equal_ones_the_first_to_come(deadlines):
    run = Doubler()

    async def until(condition):
        while not condition():
            await asyncio.sleep(0)

    async def go():
        batcher = Batcher(run, 3, 100)
        running, tasks = await queued(batcher, run, until, list(enumerate(deadlines, 1)))
        assert await finish(batcher, run, running, tasks) == [2 * n for n in range(1, len(deadlines) + 1)]

    asyncio.run(go())
    order = [item for batch in run.batches[1:] for item in batch]
    assert order == sorted(range(1, len(deadlines) + 1), key=lambda item: deadlines[item - 1])


async def test_an_item_whose_time_is_up_never_runs(double, until):
    batcher = Batcher(double, 8, 8)
    running, tasks = await queued(batcher, double, until, [(1, 0.01), (2, 100.0)])
    await asyncio.sleep(0.02)
    late, answered = await finish(batcher, double, running, tasks)
    assert isinstance(late, DeadlineError)
    assert answered == 4
    assert double.batches == [[0], [2]]


async def test_one_whose_time_is_up_does_not_run_again_alone_either(double, until):
    batcher = Batcher(double, 8, 8)
    double.gate.clear()
    now_s = asyncio.get_running_loop().time()
    items = [(1, math.inf), (ValueError("bad"), math.inf), (3, now_s + 0.01)]
    tasks = [asyncio.create_task(batcher.submit(*item)) for item in items]
    await until(lambda: double.started)
    await asyncio.sleep(0.02)
    double.gate.set()
    answered, bad, late = await asyncio.gather(*tasks, return_exceptions=True)
    assert (answered, type(bad), type(late)) == (2, ValueError, DeadlineError)
    assert [3] not in double.batches
    await batcher.close()


async def test_a_batch_is_no_larger_than_the_most_urgent_has_time_for(double, until):
    batcher = paced(Batcher(double, 8, 8), each=10.0)
    items = [(1, 35.0), *((item, 1000.0) for item in range(2, 7))]
    running, tasks = await queued(batcher, double, until, items)
    assert await finish(batcher, double, running, tasks) == [2, 4, 6, 8, 10, 12]
    assert double.batches == [[0], [1, 2, 3], [4, 5, 6]]


async def test_what_cannot_be_in_time_any_more_stands_behind_what_can(double, until):
    batcher = paced(Batcher(double, 2, 8), each=10.0)
    items = [(1, 5.0), (2, 5.0), (3, 100.0), (4, 200.0), (5, 15.0)]
    running, tasks = await queued(batcher, double, until, items)
    # They run all the same: an estimate is no verdict.
    assert await finish(batcher, double, running, tasks) == [2, 4, 6, 8, 10]
    assert double.batches == [[0], [5], [3, 4], [1, 2]]


async def test_a_free_model_waits_while_that_pays(double):
    batcher = paced(Batcher(double, 3, 8), wait=600.0)
    async with asyncio.timeout(20):
        tasks = [asyncio.create_task(batcher.submit(1))]
        await asyncio.sleep(0.02)
        assert double.started == 0
        tasks += [asyncio.create_task(batcher.submit(n)) for n in (2, 3)]
        # A full batch ends the wait.
        assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert double.batches == [[1, 2, 3]]
    await batcher.close()


async def test_the_wait_ends(double):
    batcher = paced(Batcher(double, 3, 8), wait=0.02)
    start = time.perf_counter()
    assert await asyncio.wait_for(batcher.submit(1), 20) == 2
    assert time.perf_counter() - start >= 0.02
    await batcher.close()


async def test_closing_ends_the_wait(double, until):
    batcher = paced(Batcher(double, 3, 8), wait=600.0)
    task = asyncio.create_task(batcher.submit(1))
    await until(batcher.waiting)
    await asyncio.sleep(0.01)
    await asyncio.wait_for(batcher.close(), 20)
    assert (await asyncio.gather(task, return_exceptions=True))[0].code == "unavailable"
    assert double.batches == []


async def test_nobody_waits_for_company_while_another_batcher_wants_the_model(double, until):
    thread = ModelThread()
    waiting, other = paced(Batcher(double, 3, 8, thread), wait=600.0), Batcher(double, 3, 8, thread)
    async with asyncio.timeout(20):
        running = await occupy(other, double, until)
        tasks = [asyncio.create_task(waiting.submit(1)), asyncio.create_task(other.submit(2))]
        await asyncio.sleep(0.01)
        double.gate.set()
        assert await asyncio.gather(running, *tasks) == [0, 2, 4]
    for batcher in (waiting, other):
        await batcher.close()
    thread.close()


async def test_what_comes_while_another_batcher_has_the_model_joins_the_batch(double, until):
    thread = ModelThread()
    first, second = Batcher(double, 8, 8, thread), Batcher(double, 8, 8, thread)
    running = await occupy(first, double, until)
    tasks = []
    for item in (1, 2, 3):
        tasks.append(asyncio.create_task(second.submit(item)))
        await asyncio.sleep(0.005)
    double.gate.set()
    assert await asyncio.gather(running, *tasks) == [0, 2, 4, 6]
    assert double.batches == [[0], [1, 2, 3]]
    for batcher in (first, second):
        await batcher.close()
    thread.close()


async def test_a_full_queue_says_when_to_come_again(double, until):
    batcher = paced(Batcher(double, 2, 3), fixed=1.0, each=2.0)
    running, tasks = await queued(batcher, double, until, [(n, 1000.0) for n in (1, 2, 3)])
    with pytest.raises(OverloadedError, match="3 requests wait already") as raised:
        await batcher.submit(4)
    # A batch of two, and one of one.
    assert raised.value.retry_after_s == (1 + 2 * 2) + (1 + 2)
    assert await finish(batcher, double, running, tasks) == [2, 4, 6]


@settings(max_examples=25, deadline=None)
@given(
    plan=st.lists(
        st.tuples(st.sampled_from(["ok", "bad", "cancel", "urgent"]), st.integers(0, 3)), min_size=1, max_size=30
    ),
    max_batch=st.integers(1, 5),
)
def test_nothing_is_lost(plan, max_batch):
    run = Doubler()

    async def go():
        batcher = Batcher(run, max_batch, 10)
        loop, tasks = asyncio.get_running_loop(), []
        for number, (kind, pauses) in enumerate(plan):
            item = ValueError(number) if kind == "bad" else number
            deadline_s = loop.time() - 1 if kind == "urgent" else math.inf
            tasks.append(asyncio.create_task(batcher.submit(item, deadline_s)))
            for _ in range(pauses):
                await asyncio.sleep(0)
            if kind == "cancel":
                tasks[-1].cancel()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 20)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(batcher.close(), 20)
        assert batcher.waiting() == 0
        return results

    for number, ((kind, _), result) in enumerate(zip(plan, asyncio.run(go()), strict=True)):
        expected = {
            "ok": result == 2 * number,
            "bad": isinstance(result, ValueError),
            "cancel": isinstance(result, asyncio.CancelledError) or result == 2 * number,
            "urgent": isinstance(result, DeadlineError),
        }[kind]
        assert expected or isinstance(result, OverloadedError), (number, kind, result)
