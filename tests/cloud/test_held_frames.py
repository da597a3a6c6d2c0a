import asyncio

import pytest

from cloud.held_frames import HeldFrames
from thinwire.errors import DeadlineError, IdTakenError

KEYS = [("link", f"{number:032x}", 0) for number in range(5)]


def holding(max_frames=10, max_age_s=60.0, max_bytes=1000):
    return HeldFrames(max_frames, max_age_s, max_bytes, len)


def put(held, *keys, value="x" * 100):
    for key in keys:
        held.put(key, b"content", value)


def known(held):
    # Without using them.
    return [key for key in KEYS if key in held._memory.values()]


async def test_what_is_put_is_found_by_key_and_by_id():
    held = holding()
    put(held, KEYS[0], ("link", "a" * 32, 7), value="abc")
    assert held.get(KEYS[0]).value == "abc"
    assert held.get(KEYS[0]).content == b"content"
    assert held.get(("other", *KEYS[0][1:])) is None
    assert (held.find(KEYS[0][1]), held.find("a" * 32 + "-7")) == ("abc", "abc")
    assert held.find("a" * 32) is held.find("") is held.find("b" * 32) is None
    assert (len(held), held.nbytes) == (2, 6)


async def test_two_links_may_give_their_frames_one_name():
    held = holding()
    name = KEYS[0][1]
    put(held, KEYS[0], value="first")
    put(held, ("other", *KEYS[0][1:]), value="second")
    assert held.find(name) == "second"
    held.put(("other", *KEYS[0][1:]), b"content", "x" * 1001)
    assert held.find(name) == "first"
    held.put(KEYS[0], b"content", "x" * 1001)
    assert held.find(name) is None


async def test_the_least_recently_used_gives_way_to_more_than_fit():
    held = holding(max_frames=3)
    put(held, *KEYS[:3])
    held.get(KEYS[0])
    put(held, KEYS[3])
    assert known(held) == [KEYS[0], KEYS[2], KEYS[3]]
    held.find(KEYS[2][1])
    put(held, KEYS[4])
    assert known(held) == [KEYS[2], KEYS[3], KEYS[4]]
    assert held.find(KEYS[0][1]) is None


async def test_memory_is_bounded():
    held = holding(max_bytes=250)
    put(held, *KEYS[:3])
    assert known(held) == KEYS[1:3]
    assert held.nbytes == 200
    put(held, KEYS[3], value="x" * 250)
    assert known(held) == [KEYS[3]]
    # Nothing gives way to what does not fit anyway.
    put(held, KEYS[4], value="x" * 251)
    assert known(held) == [KEYS[3]]
    assert held.nbytes == 250


@pytest.fixture
async def pass_time(monkeypatch):
    """Lets seconds pass by the event loop's clock, which stands still but for that."""
    loop = asyncio.get_running_loop()
    now_s = loop.time()
    monkeypatch.setattr(loop, "time", lambda: now_s)

    async def wait(seconds):
        nonlocal now_s
        now_s += seconds
        # What is due is called in the turn after the one that finds it so.
        for _ in range(3):
            await asyncio.sleep(0)

    return wait


async def test_age_is_bounded_however_often_a_frame_is_used(pass_time):
    held = holding(max_age_s=10.0)
    put(held, KEYS[0])
    for _ in range(4):
        await pass_time(1.5)
        assert held.get(KEYS[0]) is not None
    put(held, KEYS[1])
    await pass_time(6.0)
    # Freed by itself, before anybody asks.
    assert known(held) == [KEYS[1]]
    assert (len(held), held.nbytes) == (1, 100)


async def test_a_frame_that_is_put_again_starts_anew(pass_time):
    held = holding(max_age_s=10.0)
    put(held, KEYS[0])
    await pass_time(6.0)
    put(held, KEYS[0], value="new")
    assert (len(held), held.nbytes) == (1, 3)
    await pass_time(6.0)
    assert held.find(KEYS[0][1]) == "new"


async def test_an_id_that_another_link_used_since_is_that_ones():
    held = holding()
    other = ("other", *KEYS[0][1:])
    put(held, KEYS[0], value="first")
    put(held, other, value="second")
    assert held.find(KEYS[0][1]) == "second"
    held._memory.pop(KEYS[0])
    assert held.find(KEYS[0][1]) == "second"
    held._memory.pop(other)
    assert held.find(KEYS[0][1]) is None


async def test_clear():
    held = holding()
    put(held, *KEYS)
    held.clear()
    assert (len(held), held.nbytes, held.find(KEYS[0][1])) == (0, 0, None)


@pytest.mark.parametrize("limits", [{"max_frames": 0}, {"max_bytes": 99}])
async def test_nothing_is_held_where_nothing_may_be(limits):
    held = holding(**limits)
    put(held, *KEYS)
    assert (len(held), held.nbytes) == (0, 0)


KEY = ("link", "0" * 32, 0)


def remembering(frames, seconds):
    return HeldFrames(frames, seconds, 0, lambda result: 0)


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
