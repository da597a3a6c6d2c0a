"""A stream of images through the edge: order, back-pressure, and what ends it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from edge.answer import Answer
from edge.service import EdgeService
from thinwire.errors import (
    BudgetError,
    DeadlineError,
    InvalidImageError,
)
from thinwire.rest.schemas import Parameters

Picture = Callable[..., bytes]


def asking(**parameters: Any) -> Parameters:
    return Parameters.model_validate(parameters)


async def all_of(*images: bytes) -> AsyncIterator[bytes]:
    for image in images:
        yield image


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_stream_answers_in_order_and_outlives_a_bad_image(
    service: EdgeService, cloud: Any, picture: Picture
) -> None:
    cloud.delay_s = lambda frame: 0.2 if frame.sequence_number == 0 else 0.0
    images = [picture(0), b"no image", picture(2), picture(3)]
    answers = [answer async for answer in service.classify_stream(all_of(*images), asking())]
    assert isinstance(answers[1], InvalidImageError)
    good = [answer for answer in answers if isinstance(answer, Answer)]
    request_id = cloud.frames[0].request_id
    assert [answer.frame_id for answer in good] == [request_id, f"{request_id}-2", f"{request_id}-3"]
    cloud.delay_s = lambda _: 0.0
    alone = [await service.classify(images[n], asking()) for n in (0, 2, 3)]
    assert [answer.outputs for answer in good] == [answer.outputs for answer in alone]
    assert len({frame.request_id for frame in cloud.frames[:3]}) == 1


async def test_a_stream_answers_an_image_before_the_next_one_comes(service: EdgeService, picture: Picture) -> None:
    answered = asyncio.Event()

    async def images() -> AsyncIterator[bytes]:
        for image in (picture(0), b"no image", picture(1)):
            yield image
            await answered.wait()
            answered.clear()

    count = 0
    async with asyncio.timeout(60):
        async for _ in service.classify_stream(images(), asking()):
            count += 1
            answered.set()
    assert count == 3


async def test_a_stream_goes_on_after_a_refusal_and_a_deadline(
    service: EdgeService, cloud: Any, picture: Picture
) -> None:
    cloud.refusal = lambda frame: BudgetError("no") if frame.sequence_number == 0 else None
    cloud.delay_s = lambda frame: 600.0 if frame.sequence_number == 1 else 0.0
    images = all_of(*map(picture, range(3)))
    kinds = [type(answer) async for answer in service.classify_stream(images, asking(timeout_ms=3000))]
    assert kinds == [BudgetError, DeadlineError, Answer]


async def test_images_are_encoded_while_frames_before_them_are_sent_and_answered(
    service: EdgeService, engine: Any, cloud: Any, picture: Picture
) -> None:
    # Nothing is answered yet; the first frames are on the link, and the engine is at work on the third image.
    cloud.delay_s = lambda _: 600.0
    async with (
        asyncio.timeout(60),
        aclosing(service.classify_stream(all_of(*map(picture, range(3))), asking())) as all_,
    ):
        first = asyncio.create_task(anext(all_))
        cloud.on_frame = lambda frame: engine.open.clear() if frame.sequence_number == 1 else None
        await until(lambda: len(cloud.frames) >= 2 and len(engine.calls) == 3)
        assert not first.done()
        engine.open.set()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_a_stream_reads_no_further_than_it_answers(service: EdgeService, picture: Picture) -> None:
    read = 0

    async def images() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(50):
            read += 1
            yield picture()

    async with aclosing(service.classify_stream(images(), asking())) as answers:
        await anext(answers)
        await asyncio.sleep(0.2)
        assert read < 10


async def test_a_stream_passes_on_what_ended_its_images(service: EdgeService, picture: Picture) -> None:
    async def images() -> AsyncIterator[bytes]:
        yield picture()
        raise OSError("the camera is gone")

    answers: list[Any] = []

    async def collect() -> None:
        async for answer in service.classify_stream(images(), asking()):
            answers.append(answer)

    with pytest.raises(OSError, match="camera"):
        await collect()
    assert len(answers) == 1


async def test_leaving_a_stream_cancels_its_work(service: EdgeService, cloud: Any, picture: Picture) -> None:
    cloud.delay_s = lambda frame: 600.0 if frame.sequence_number else 0.0
    async with (
        asyncio.timeout(60),
        aclosing(service.classify_stream(all_of(picture(), picture()), asking())) as answers,
    ):
        await anext(answers)
        await until(lambda: len(cloud.frames) > 1)
    await asyncio.wait_for(cloud.cancelled.wait(), 60)
