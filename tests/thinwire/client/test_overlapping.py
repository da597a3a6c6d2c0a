"""Several items under way, answers in order."""

import asyncio
import time
from contextlib import aclosing

import numpy as np
import pytest

from thinwire.client import in_order
from thinwire.errors import DeadlineError, InvalidImageError


def items(count, error=None):
    for number in range(count):
        yield f"{number}.png"
    if error is not None:
        raise error


class Edge:
    """Answers after a time that depends on the item, and notes how many it had at once."""

    def __init__(self, seconds=lambda number: 0.0, failing=None):
        self.at_once = self.most = self.cancelled = 0
        self.seconds = seconds
        self.failing = failing
        self.asked = []

    async def __call__(self, number, item):
        self.asked.append(number)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.seconds(number))
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.at_once -= 1
        if number == self.failing:
            raise DeadlineError("too late")
        return {"number": number}


@pytest.mark.parametrize("overlap", [1, 3])
async def test_answers_keep_the_order_of_the_items(overlap):
    edge = Edge(lambda number: 0.02 if number % 3 == 0 else 0.0)
    found = [one async for one in in_order(items(10), edge, overlap)]
    assert [(one.number, one.item, one.answer) for one in found] == [
        (number, f"{number}.png", {"number": number}) for number in range(10)
    ]
    assert edge.most <= overlap
    assert all(one.milliseconds >= 20 for one in found if one.number % 3 == 0)


async def test_items_are_under_way_together():
    barrier = asyncio.Barrier(3)

    async def ask(number, item):
        await barrier.wait()
        return {}

    assert len([one async for one in in_order(items(9), ask, 3)]) == 9


async def test_no_more_is_read_than_is_under_way_and_one():
    read = []

    def source():
        for item in items(50):
            read.append(item)
            yield item

    edge = Edge(lambda number: 0.001)
    async with aclosing(in_order(source(), edge, 3)) as answers:
        async for answered in answers:
            # A reader of answers who takes his time.
            await asyncio.sleep(0.01)
            assert len(read) <= answered.number + 1 + 3 + 1
            assert len(edge.asked) <= answered.number + 1 + 3
            if answered.number == 9:
                break


async def test_a_rate_sends_no_item_before_its_time():
    began = time.monotonic()
    found = [one async for one in in_order(items(5), Edge(), 2, per_second=50)]
    starts = np.array([one.began_s for one in found])
    np.testing.assert_allclose(np.diff(starts), 0.02, atol=1e-6)
    assert found[0].began_s >= began
    assert all(one.ended_s >= one.began_s for one in found)


async def test_under_a_rate_a_late_item_counts_from_when_it_was_due():
    found = [one async for one in in_order(items(5), Edge(lambda number: 0.05), 1, per_second=100)]
    times = [one.milliseconds for one in found]
    assert all(time_ms >= 50 + 40 * number - 1 for number, time_ms in enumerate(times))


async def test_an_error_comes_in_its_place_():
    edge = Edge(lambda number: 0.0 if number == 2 else 0.02, failing=2)
    answers = in_order(items(20), edge, 4)
    assert [(await anext(answers)).number for _ in range(2)] == [0, 1]
    with pytest.raises(DeadlineError, match="too late"):
        await anext(answers)
    assert edge.at_once == 0
    assert max(edge.asked) < 8


async def test_what_breaks_off_is_answered_so_far():
    answers = in_order(items(3, InvalidImageError("broken")), Edge(lambda number: 0.01))
    assert [(await anext(answers)).number for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InvalidImageError, match="broken"):
        await anext(answers)


async def test_who_stops_early_leaves_nothing_under_way():
    edge = Edge(lambda number: 10.0 if number else 0.0)
    async with aclosing(in_order(items(20), edge, 4)) as answers:
        assert (await anext(answers)).number == 0
        while edge.at_once < 3:
            await asyncio.sleep(0.001)
    assert edge.at_once == 0
    assert edge.cancelled >= 3


async def test_nothing_is_an_item_like_any_other():
    async def ask(number, item):
        return item

    assert [one.answer async for one in in_order([None, 0, None], ask)] == [None, 0, None]
