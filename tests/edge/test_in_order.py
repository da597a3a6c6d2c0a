"""Overlapping work: in order, no more at once than was asked for, nothing left behind."""

import asyncio
from contextlib import aclosing

import pytest

from edge.in_order import in_order


async def numbers(count, failure=None):
    for number in range(count):
        yield number
    if failure:
        raise failure


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.mark.parametrize("window", [1, 2, 5])
async def test_so_many_are_under_way_behind_the_one_that_is_awaited(window):
    gates = [asyncio.Event() for _ in range(8)]
    begun = []

    async def work(item, number):
        begun.append(number)
        await gates[number].wait()
        return item

    async with aclosing(in_order(numbers(8), work, window)) as results:
        for number in range(8):
            taken = asyncio.ensure_future(anext(results))
            await settle()
            assert begun == list(range(min(8, number + 1 + window)))
            gates[number].set()
            assert await taken == number
    assert await anext(results, None) is None


async def test_what_ends_first_waits_for_what_came_first():
    async def work(item, number):
        await asyncio.sleep(0.02 * (3 - number))
        return item

    assert [item async for item in in_order(numbers(3), work, 2)] == [0, 1, 2]


async def test_what_was_read_before_a_failure_is_answered():
    async def work(item, number):
        return item

    results = in_order(numbers(3, OSError("gone")), work, 2)
    assert [await anext(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="gone"):
        await anext(results)


async def test_the_first_that_fails_ends_it_and_the_others():
    ended = []

    async def work(item, number):
        if number == 1:
            raise ValueError("broken")
        try:
            await asyncio.sleep(0 if number == 0 else 600)
        except asyncio.CancelledError:
            ended.append(number)
            raise
        return item

    results = in_order(numbers(9), work, 3)
    assert await anext(results) == 0
    with pytest.raises(ValueError, match="broken"):
        await anext(results)
    # The next one had not begun.
    assert sorted(ended) == [2, 3]
