"""Threads with a queue before them: what is refused, what never runs, and what an estimate may not do."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from thinwire.errors import DeadlineError, OverloadedError
from thinwire.workers import Workers

SLOW_S = 0.1


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("test", max_waiting=3)
    yield workers
    workers.close()


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def occupy(workers: Workers, gate: threading.Event, threads: int = 1) -> list[asyncio.Task[bool]]:
    """Calls on all threads, which end with the gate."""
    begun = threading.Semaphore(0)

    def call() -> bool:
        begun.release()
        return gate.wait(60)

    tasks = [asyncio.create_task(workers.run(call)) for _ in range(threads)]
    for _ in range(threads):
        assert await asyncio.to_thread(begun.acquire, timeout=60)
    return tasks


async def test_results_and_errors_are_those_of_the_call(workers: Workers) -> None:
    assert await workers.run(lambda: threading.current_thread().name) == "test_0"
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)
    assert workers.waiting == 0


async def test_only_so_many_wait(workers: Workers, gate: threading.Event) -> None:
    running = await occupy(workers, gate)
    waiting = [asyncio.create_task(workers.run(lambda: True)) for _ in range(3)]
    await asyncio.sleep(0)
    assert workers.waiting == 3
    with pytest.raises(OverloadedError, match="3 requests wait already"):
        await workers.run(lambda: True)
    gate.set()
    assert all(await asyncio.gather(*running, *waiting))
    assert await workers.run(lambda: True)


async def test_whoever_would_wait_for_most_of_its_time_is_refused(workers: Workers, gate: threading.Event) -> None:
    await workers.run(lambda: time.sleep(SLOW_S))
    running = await occupy(workers, gate)
    with pytest.raises(OverloadedError) as raised:
        await workers.run(lambda: True, now_s() + SLOW_S)
    assert raised.value.retry_after_s >= SLOW_S
    patient = asyncio.create_task(workers.run(lambda: True, now_s() + 1000 * SLOW_S))
    await asyncio.sleep(0)
    # One call more before it.
    with pytest.raises(OverloadedError) as raised:
        workers.check(now_s() + SLOW_S)
    assert raised.value.retry_after_s >= 2 * SLOW_S
    gate.set()
    assert all(await asyncio.gather(*running, patient))


async def test_an_idle_thread_takes_what_the_estimate_holds_for_hopeless(workers: Workers) -> None:
    await workers.run(lambda: time.sleep(SLOW_S))
    with suppress(DeadlineError):
        assert await workers.run(lambda: True, now_s() + SLOW_S / 10)


async def test_the_estimate_forgets(workers: Workers, gate: threading.Event) -> None:
    await workers.run(lambda: time.sleep(SLOW_S))
    for _ in range(100):
        await workers.run(lambda: None)
    await occupy(workers, gate)
    workers.check(now_s() + SLOW_S)


async def test_one_thread_of_two_is_free(gate: threading.Event) -> None:
    workers = Workers("two", threads=2)
    await workers.run(lambda: time.sleep(SLOW_S))
    await occupy(workers, gate)
    with suppress(DeadlineError):
        assert await workers.run(lambda: True, now_s() + SLOW_S)
    await occupy(workers, gate)
    with pytest.raises(OverloadedError) as raised:
        workers.check(now_s() + SLOW_S / 10)
    # Two threads work it off.
    assert raised.value.retry_after_s >= SLOW_S / 4
    gate.set()
    workers.close()


async def test_what_nobody_waits_for_any_more_never_runs(workers: Workers, gate: threading.Event) -> None:
    ran: list[str] = []
    await occupy(workers, gate)
    gone = asyncio.create_task(workers.run(lambda: ran.append("gone")))
    late = asyncio.create_task(workers.run(lambda: ran.append("late"), now_s() + 0.02))
    last = asyncio.create_task(workers.run(lambda: ran.append("last")))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0.05)
    assert workers.waiting == 2
    gate.set()
    with pytest.raises(DeadlineError):
        await late
    await last
    assert ran == ["last"]


async def test_a_call_that_runs_keeps_its_thread_when_its_caller_goes(workers: Workers, gate: threading.Event) -> None:
    (running,) = await occupy(workers, gate)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    next_one = asyncio.create_task(workers.run(lambda: True))
    await asyncio.sleep(0)
    assert workers.waiting == 1
    gate.set()
    assert await next_one


async def test_closing_drops_what_waits(gate: threading.Event) -> None:
    workers = Workers("closing")
    ran: list[int] = []
    await occupy(workers, gate)
    waiting = asyncio.create_task(workers.run(lambda: ran.append(1)))
    await asyncio.sleep(0)
    workers.close()
    await asyncio.gather(waiting, return_exceptions=True)
    gate.set()
    assert waiting.cancelled()
    assert ran == []


def test_workers_are_good_for_several_event_loops(workers: Workers) -> None:
    assert [asyncio.run(workers.run(lambda: 1)) for _ in range(2)] == [1, 1]
