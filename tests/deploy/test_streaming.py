"""Several pictures under way, answers in order, and what a stream comes to."""

import asyncio
import time
from contextlib import aclosing

import numpy as np
import pytest

from deploy.pictures import Picture
from deploy.streaming import Answered, Tally, stream
from thinwire.errors import DeadlineError, InvalidImageError


def pictures(count, error=None):
    for number in range(count):
        yield Picture(f"{number}.png", "image/png", b"")
    if error is not None:
        raise error


class Edge:
    """Answers after a time that depends on the picture, and notes how many it had at once."""

    def __init__(self, seconds=lambda number: 0.0, failing=None):
        self.at_once = self.most = self.cancelled = 0
        self.seconds = seconds
        self.failing = failing
        self.asked = []

    async def __call__(self, number, picture):
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
async def test_answers_keep_the_order_of_the_pictures(overlap):
    edge = Edge(lambda number: 0.02 if number % 3 == 0 else 0.0)
    found = [one async for one in stream(pictures(10), edge, overlap)]
    assert [(one.number, one.picture, one.answer) for one in found] == [
        (number, f"{number}.png", {"number": number}) for number in range(10)
    ]
    assert edge.most <= overlap
    assert all(one.milliseconds >= 20 for one in found if one.number % 3 == 0)


async def test_pictures_are_under_way_together():
    barrier = asyncio.Barrier(3)

    async def ask(number, picture):
        await barrier.wait()
        return {}

    assert len([one async for one in stream(pictures(9), ask, 3)]) == 9


async def test_no_more_is_read_than_is_under_way_and_one():
    read = []

    def source():
        for picture in pictures(50):
            read.append(picture.name)
            yield picture

    edge = Edge(lambda number: 0.001)
    async with aclosing(stream(source(), edge, 3)) as answers:
        async for answered in answers:
            # A reader of answers who takes his time.
            await asyncio.sleep(0.01)
            assert len(read) <= answered.number + 1 + 3 + 1
            assert len(edge.asked) <= answered.number + 1 + 3
            if answered.number == 9:
                break


async def test_a_rate_sends_no_picture_before_its_time():
    began = time.monotonic()
    found = [one async for one in stream(pictures(5), Edge(), 2, per_second=50)]
    starts = np.array([one.began_s for one in found])
    np.testing.assert_allclose(np.diff(starts), 0.02, atol=1e-6)
    assert found[0].began_s >= began
    assert all(one.ended_s >= one.began_s for one in found)


async def test_under_a_rate_a_late_picture_counts_from_when_it_was_due():
    found = [one async for one in stream(pictures(5), Edge(lambda number: 0.05), 1, per_second=100)]
    times = [one.milliseconds for one in found]
    assert all(time_ms >= 50 + 40 * number - 1 for number, time_ms in enumerate(times))


async def test_an_error_comes_in_its_place_and_names_the_picture():
    edge = Edge(lambda number: 0.0 if number == 2 else 0.02, failing=2)
    answers = stream(pictures(20), edge, 4)
    assert [(await anext(answers)).number for _ in range(2)] == [0, 1]
    with pytest.raises(DeadlineError, match=r"frame 2 \(2\.png\): too late"):
        await anext(answers)
    assert edge.at_once == 0
    assert max(edge.asked) < 8


async def test_what_breaks_off_is_answered_so_far():
    answers = stream(pictures(3, InvalidImageError("broken")), Edge(lambda number: 0.01))
    assert [(await anext(answers)).number for _ in range(3)] == [0, 1, 2]
    with pytest.raises(InvalidImageError, match="broken"):
        await anext(answers)


async def test_who_stops_early_leaves_nothing_under_way():
    edge = Edge(lambda number: 10.0 if number else 0.0)
    async with aclosing(stream(pictures(20), edge, 4)) as answers:
        assert (await anext(answers)).number == 0
        while edge.at_once < 3:
            await asyncio.sleep(0.001)
    assert edge.at_once == 0
    assert edge.cancelled >= 3


def answered(number, began_s, ended_s, policy="p", uses=10):
    link = {"channel_uses": uses} if policy else None
    return Answered(number, "", {"policy": policy and {"id": policy}, "link": link}, began_s, ended_s)


def test_a_tally_is_what_the_answers_say():
    tally = Tally()
    assert tally.figures() is None
    times = [(0.0, 1.0, "a"), (0.5, 3.0, "a"), (1.0, 2.0, "b"), (2.0, 4.0, "a")]
    for number, (began_s, ended_s, policy) in enumerate(times):
        tally.add(answered(number, 100 + began_s, 100 + ended_s, policy, 10 + number))
    tally.add(Answered(4, "", {"error": "frame_lost", "detail": ""}, 100.0, 200.0))
    figures = tally.figures()
    each = [1000.0, 2500.0, 1000.0, 2000.0]
    assert figures == {
        "frames": 4,
        "lost": 1,
        "frames_per_second": 1.0,
        "channel_uses_mean": 11.5,
        "channel_uses_per_second": 11.5,
        "median_ms": pytest.approx(np.median(each)),
        "p95_ms": pytest.approx(np.quantile(each, 0.95)),
        "policy_switches": 2,
    }


def test_a_tally_of_the_plain_model_has_no_uses():
    tally = Tally()
    for number in range(2):
        tally.add(answered(number, number, number + 1.0, policy=None))
    figures = tally.figures()
    assert (figures["channel_uses_mean"], figures["policy_switches"], figures["frames_per_second"]) == (0, 0, 1)
