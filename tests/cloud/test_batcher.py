import asyncio
import contextlib
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloud.batcher import Batcher
from cloud.scheduling import ModelThread
from tests.cloud.conftest import Doubler
from thinwire.errors import InvalidFrameError, OverloadedError, UnavailableError


async def occupy(batcher, run, until, item=0):
    """Submit an item that keeps the model busy until the gate opens."""
    run.gate.clear()
    started = run.started
    task = asyncio.create_task(batcher.submit(item))
    await until(lambda: run.started > started)
    return task


@settings(max_examples=30, deadline=None)
@given(items=st.lists(st.integers(), max_size=20), max_batch=st.integers(1, 6))
def test_each_gets_its_own_result(items, max_batch):
    run = Doubler()

    async def go():
        batcher = Batcher(run, max_batch, 100)
        try:
            return await asyncio.gather(*(batcher.submit(item) for item in items))
        finally:
            await batcher.close()

    assert asyncio.run(go()) == [2 * item for item in items]
    assert [item for batch in run.batches for item in batch] == items
    assert all(len(batch) <= max_batch for batch in run.batches)


async def test_what_arrives_together_runs_together(double):
    batcher = Batcher(double, 8, 8)
    assert await asyncio.gather(*(batcher.submit(n) for n in range(3))) == [0, 2, 4]
    assert double.batches == [[0, 1, 2]]
    await batcher.close()


async def test_what_arrives_during_a_run_forms_the_next(double, until):
    batcher = Batcher(double, 3, 8)
    first = await occupy(batcher, double, until)
    rest = [asyncio.create_task(batcher.submit(n)) for n in range(1, 6)]
    await asyncio.sleep(0)
    double.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10]
    assert double.batches == [[0], [1, 2, 3], [4, 5]]
    await batcher.close()


async def test_the_loop_stays_free_while_the_model_runs(double, until):
    batcher = Batcher(double, 2, 8)
    running = await occupy(batcher, double, until)
    # Had the model run on the loop, this line could not be reached before the gate opens.
    assert not running.done()
    double.gate.set()
    assert await running == 0
    await batcher.close()


async def test_batchers_that_share_a_thread_never_overlap(until):
    inside = threading.Lock()

    def run(items):
        assert inside.acquire(blocking=False), "two batches at once"
        time.sleep(0.002)
        inside.release()
        return items

    thread = ModelThread()
    batchers = [Batcher(run, 1, 100, thread) for _ in range(2)]
    assert await asyncio.gather(*(batchers[n % 2].submit(n) for n in range(10))) == list(range(10))
    for batcher in batchers:
        await batcher.close()
    # The thread is not theirs to close.
    told = []
    thread.run(int, told.append)
    await until(lambda: told == [0])
    thread.close()


async def test_one_bad_item_does_not_fail_its_neighbours(double):
    batcher = Batcher(double, 8, 8)
    results = await asyncio.gather(*map(batcher.submit, [1, ValueError("bad"), 3]), return_exceptions=True)
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ValueError)
    assert await batcher.submit(4) == 8
    await batcher.close()


async def test_sizes_of_batches_are_told_and_those_who_wait_are_counted(double):
    told = []
    batcher = Batcher(double, 2, 8, on_batch=told.append)
    calls = [asyncio.create_task(batcher.submit(item)) for item in (1, ValueError("bad"), 3)]
    await asyncio.sleep(0)
    assert batcher.waiting() == 3
    await asyncio.gather(*calls, return_exceptions=True)
    assert batcher.waiting() == 0
    # The two of the batch that failed ran again alone.
    assert told == [2, 1, 1, 1]
    await batcher.close()


async def test_an_item_that_fails_alone_runs_once(double):
    batcher = Batcher(double, 8, 8)
    with pytest.raises(ValueError, match="bad"):
        await batcher.submit(ValueError("bad"))
    assert double.started == 1
    await batcher.close()


@pytest.mark.parametrize("error", [StopIteration("end"), SystemExit(3)], ids=repr)
async def test_errors_that_the_loop_cannot_carry(double, error):
    batcher = Batcher(double, 8, 8)
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeError, match=type(error).__name__):
            await batcher.submit(error)
        assert await batcher.submit(1) == 2
    await batcher.close()


async def test_too_few_results_are_an_error():
    batcher = Batcher(lambda items: [], 8, 8)
    with pytest.raises(RuntimeError, match="expected 1 results, got 0"):
        await batcher.submit(1)
    await batcher.close()


async def test_a_full_queue_refuses_and_a_cancelled_caller_frees_its_place(double, until):
    batcher = Batcher(double, 1, 2)
    running = await occupy(batcher, double, until)
    waiting = [asyncio.create_task(batcher.submit(n)) for n in (1, 2)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError, match="2 requests wait"):
        await batcher.submit(3)
    waiting[0].cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting[0]
    last = asyncio.create_task(batcher.submit(4))
    await asyncio.sleep(0)
    double.gate.set()
    assert await asyncio.gather(running, waiting[1], last) == [0, 4, 8]
    assert double.batches == [[0], [2], [4]]
    await batcher.close()


async def test_a_caller_who_goes_during_the_run_leaves_the_others(double, until):
    batcher = Batcher(double, 8, 8)
    double.gate.clear()
    gone, stays = (asyncio.create_task(batcher.submit(n)) for n in (1, 2))
    await until(lambda: double.started)
    gone.cancel()
    await asyncio.sleep(0)
    double.gate.set()
    assert await stays == 4
    assert gone.cancelled()
    await batcher.close()


async def test_a_caller_who_has_gone_is_not_retried(double, until):
    batcher = Batcher(double, 8, 8)
    double.gate.clear()
    tasks = [asyncio.create_task(batcher.submit(item)) for item in (1, 2, ValueError("bad"))]
    await until(lambda: double.started)
    tasks[0].cancel()
    await asyncio.sleep(0)
    double.gate.set()
    assert await tasks[1] == 4
    with pytest.raises(ValueError, match="bad"):
        await tasks[2]
    assert [1] not in double.batches
    await batcher.close()


async def test_close_finishes_what_runs_and_refuses_the_rest(double, until):
    batcher = Batcher(double, 1, 8)
    running = await occupy(batcher, double, until, 5)
    waiting = asyncio.create_task(batcher.submit(6))
    await asyncio.sleep(0)
    closing = asyncio.create_task(batcher.close())
    with pytest.raises(UnavailableError, match="stopping"):
        await waiting
    with pytest.raises(UnavailableError, match="stopping"):
        await batcher.submit(7)
    assert not closing.done()
    double.gate.set()
    await closing
    assert await running == 10
    assert double.batches == [[5]]


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
def test_impossible_limits_are_refused(double, arguments):
    with pytest.raises(ValueError, match="expected max_batch >= 1"):
        Batcher(double, *arguments)


async def test_an_error_among_the_results_is_its_items_alone():
    batcher = Batcher(lambda items: [InvalidFrameError("no") if item == 2 else item for item in items], 8, 8)
    first, second, third = await asyncio.gather(*map(batcher.submit, [1, 2, 3]), return_exceptions=True)
    assert (first, third) == (1, 3)
    assert isinstance(second, InvalidFrameError)
    await batcher.close()


async def test_a_free_model_that_waits_is_not_put_off_by_all_who_come(double, monkeypatch):
    left_waiting = []
    batcher = Batcher(double, 8, 1000, on_batch=lambda _: left_waiting.append(batcher.waiting()))
    monkeypatch.setattr(batcher._pace, "wait_s", lambda *_: 0.005)
    results = []

    async def produce():
        for _ in range(200):
            results.append(batcher.enqueue(1))
            await asyncio.sleep(0)

    # There are arrivals in every turn of the loop.
    await asyncio.gather(produce(), produce())
    assert await asyncio.gather(*results) == [2] * 400
    assert left_waiting[0] < 8
    await batcher.close()


async def test_a_thread_that_cannot_start_fails_its_batch_and_no_other(double, monkeypatch):
    batcher = Batcher(double, 8, 8)

    def refuse(_):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await batcher.submit(1)
    assert await batcher.submit(2) == 4
    await batcher.close()
