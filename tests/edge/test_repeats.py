"""Requests that come again under their ids: the same frame, whatever the edge has learnt since."""

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edge.engine import Encoded
from edge.repeats import Prepared, Repeats, content_of, frame_id_of
from edge.service import EdgeService
from policies.choice import Choice
from policies.policy import Policy
from thinwire.channels import NOMINAL, Channel
from thinwire.errors import BudgetError, IdTakenError, InvalidImageError, OverBudgetError, UnavailableError
from thinwire.rest.schemas import Parameters, VqaParameters

Picture = Callable[..., bytes]
ID = "0123456789abcdef" * 2
ENCODED = Encoded(np.ones((4, 2), np.complex64), np.zeros(16, np.int64), np.ones(4, np.int64), (4,), False, 0.1)
PREPARED = Prepared(ENCODED, (0, 0, 8, 8), Choice("none", Policy.unmerged(1, 2), None), NOMINAL, 0)


def asking(**parameters: Any) -> Parameters:
    return Parameters.model_validate(parameters)


def come(repeats: Repeats, name: str, content: bytes = b"a", prepared: Prepared | None = PREPARED) -> bool:
    """A request comes and goes; whether its frame was there already."""
    with repeats.known(name, content) as known:
        was_there = known.prepared is not None
        known.prepared = prepared
    return was_there


def test_a_frame_is_kept_for_the_same_content() -> None:
    repeats = Repeats()
    assert [come(repeats, "1"), come(repeats, "1"), come(repeats, "2", b"b")] == [False, True, False]
    with pytest.raises(IdTakenError, match="under the id 1 before"):
        come(repeats, "1", b"b")
    assert come(repeats, "1")
    assert len(repeats) == 2


def test_an_id_under_which_nothing_was_made_is_free() -> None:
    repeats = Repeats()
    assert not come(repeats, "1", prepared=None)
    assert not come(repeats, "1", b"b")
    assert len(repeats) == 1


def test_those_that_are_under_way_together_share_what_is_known() -> None:
    repeats = Repeats(max_frames=1)
    with repeats.known("1", b"a") as first, repeats.known("1", b"a") as second:
        assert first is second
        with pytest.raises(IdTakenError):
            come(repeats, "1", b"b")
        first.prepared = PREPARED
        # What is under way gives way to nothing.
        come(repeats, "2")
        come(repeats, "3")
        assert come(repeats, "1")
    assert come(repeats, "1")


def test_the_least_recently_used_give_way_by_number_and_by_memory() -> None:
    for repeats in (Repeats(max_frames=2), Repeats(max_bytes=2 * PREPARED.nbytes)):
        for name in ("1", "2", "1", "3"):
            come(repeats, name)
        assert len(repeats) == 2
        assert not come(repeats, "2", b"b", None)
        assert come(repeats, "1")
        assert come(repeats, "3")


def test_a_frame_that_is_too_large_is_not_kept() -> None:
    repeats = Repeats(max_bytes=PREPARED.nbytes - 1)
    assert [come(repeats, "1"), come(repeats, "1")] == [False, False]
    assert len(repeats) == 0


def test_a_frame_is_kept_for_a_time_after_its_last_use() -> None:
    now = [0.0]
    repeats = Repeats(ttl_s=10.0, clock=lambda: now[0])
    come(repeats, "1")
    for moment in (9.0, 18.0):
        now[0] = moment
        assert come(repeats, "1")
    now[0] = 28.0
    assert not come(repeats, "1", b"b")


def test_the_content_is_all_that_is_asked_for() -> None:
    first = content_of("classify", b"image", "", asking())
    same = [{"timeout_ms": 99}, {"channel": {}}, {"channel": None}, {"channel": {"model": ""}}, {"budget": {}}]
    for parameters in (*same, {"top_k": 5}, {"top_k": 5.0}, {"policy": "auto"}):
        assert content_of("classify", b"image", "", asking(**parameters)) == first
    others = [
        asking(policy="none"),
        asking(budget={"channel_uses": 8}),
        asking(budget={"airtime_ms": 8.0}),
        asking(channel={"seed": 0}),
        asking(channel={"model": "awgn"}),
        asking(top_k=9),
        VqaParameters(),
        VqaParameters(max_new_tokens=3),
        VqaParameters(temperature=1.0),
        VqaParameters(temperature=1.0, top_p=0.5),
        VqaParameters(temperature=1.0, seed=5),
    ]
    contents = {
        first,
        content_of("vqa", b"image", "", asking()),
        content_of("classify", b"images", "", asking()),
        content_of("classify", b"image", "?", asking()),
        *(content_of("classify", b"image", "", other) for other in others),
    }
    assert len(contents) == 4 + len(others)


def test_a_key_is_met_by_nobody_else() -> None:
    ids = [
        frame_id_of("key", "link"),
        frame_id_of("key", "link", "alice"),
        frame_id_of("key", "link", "bob"),
        frame_id_of("key", "other"),
        frame_id_of("ekey", "link", "alic"),
        frame_id_of("Key", "link"),
    ]
    assert len(set(ids)) == len(ids)
    assert ids[1] == frame_id_of("key", "link", "alice")
    # Kept by whoever stores the ids of frames: it may not change with a version.
    assert ids[0] == "819ff2822997cf1daa63c3b8ac86ce37"


def test_a_frames_own_id_is_its_key() -> None:
    assert frame_id_of(ID, "link", "alice") == frame_id_of(ID.upper(), "other") == ID
    assert frame_id_of("٣" * 32, "link") != "٣" * 32


async def test_what_was_learnt_meanwhile_does_not_change_a_frame(
    service: EdgeService, cloud: Any, engine: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    cloud.snr_db = 0.0
    first = await service.classify(picture(), asking(), ID)
    # At 0 dB the choice would be another.
    assert (await service.classify(picture(), asking())).policy_id == coarse.policy.id
    again = await service.classify(picture(), asking(timeout_ms=9000, channel={}), ID)
    assert (first.policy_id, again.policy_id) == (fine.policy.id, fine.policy.id)
    assert again.outputs == first.outputs
    assert (again.edge_gmacs, again.tokens, again.frame_id) == (first.edge_gmacs, first.tokens, ID)
    assert len(engine.calls) == 2
    one, _, other = cloud.frames
    assert one == other


async def test_a_repeated_frame_says_nothing_of_the_link_now(
    service: EdgeService, cloud: Any, picture: Picture
) -> None:
    for name, cloud.snr_db in ((ID, 15.0), (None, 3.0), (ID, 15.0)):
        await service.classify(picture(), asking(), name)
    assert service.device.channel.snr_db == 3.0


@pytest.mark.parametrize(
    "parameters", [{"policy": "none"}, {"budget": {"channel_uses": 40}}, {"channel": {"snr_db": 9.0}}, {"top_k": 2}]
)
async def test_other_content_under_an_id_is_refused(
    service: EdgeService, cloud: Any, picture: Picture, parameters: dict[str, Any]
) -> None:
    await service.classify(picture(), asking(), ID)
    for image, asked in ((picture(1), asking()), (picture(), asking(**parameters))):
        with pytest.raises(IdTakenError):
            await service.classify(image, asked, ID)
    assert len(cloud.frames) == 1


async def test_repeats_that_come_together_wait_for_one_frame(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    engine.open.clear()
    requests = [asyncio.create_task(service.classify(picture(), asking(), ID)) for _ in range(3)]
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
    with pytest.raises(IdTakenError):
        await service.classify(picture(1), asking(), ID)
    engine.open.set()
    answers = await asyncio.gather(*requests)
    assert len(engine.calls) == 1
    assert len({answer.outputs for answer in answers}) == 1
    assert cloud.frames == [cloud.frames[0]] * 3


async def test_a_repeat_goes_on_where_the_first_was_given_up(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    engine.open.clear()
    first, second = (asyncio.create_task(service.classify(picture(), asking(), ID)) for _ in range(2))
    async with asyncio.timeout(60):
        while not engine.calls:
            await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    engine.open.set()
    await second
    assert (len(engine.calls), len(cloud.frames)) == (2, 1)


async def test_what_never_became_a_frame_leaves_its_id_free(service: EdgeService, cloud: Any, picture: Picture) -> None:
    with pytest.raises(InvalidImageError):
        await service.classify(b"no image", asking(), ID)
    with pytest.raises(BudgetError):
        await service.classify(picture(), asking(budget={"channel_uses": 1}), ID)
    await service.classify(picture(), asking(), ID)
    assert len(cloud.frames) == 1


async def test_a_frame_whose_answer_never_came_is_the_same_again(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    cloud.refusal = lambda _: UnavailableError("gone")
    with pytest.raises(UnavailableError):
        await service.classify(picture(), asking(), ID)
    cloud.refusal = lambda _: None
    service.device.channel = Channel(snr_db=0.0)
    await service.classify(picture(), asking(), ID)
    assert cloud.frames[0] == cloud.frames[-1]
    assert len(engine.calls) == 1


async def test_repeats_of_a_frame_that_was_too_dear_send_the_next_one(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    def refusal(frame: Any) -> OverBudgetError | None:
        cost = len(frame.symbols) // 8 * 10 // 8
        return OverBudgetError("too dear", "pilots:count=2,every=8") if cost > frame.max_channel_uses else None

    cloud.refusal = refusal
    cloud.delay_s = lambda _: 0.05
    asked = asking(budget={"channel_uses": 39})
    answers = await asyncio.gather(*(service.classify(picture(), asked, ID) for _ in range(2)))
    answers.append(await service.classify(picture(), asked, ID))
    assert [call.cap for call in engine.calls] == [39, 31]
    assert [answer.edge_gmacs for answer in answers] == [0.5] * 3
    assert len({frame.symbols for frame in cloud.frames[-3:]}) == 1


async def test_another_question_under_an_id_is_another_request(
    other_service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    await other_service.ask(picture(), "what is it?", VqaParameters(), ID)
    for question, parameters in (("where is it?", VqaParameters()), ("what is it?", VqaParameters(max_new_tokens=3))):
        with pytest.raises(IdTakenError):
            await other_service.ask(picture(), question, parameters, ID)
    other_service.device.channel = Channel(snr_db=0.0)
    answer = await other_service.ask(picture(), "what is it?", VqaParameters(timeout_ms=9000), ID)
    assert answer.outputs[0][0].startswith("what is it?")
    assert len(engine.calls) == 1
    one, other = cloud.frames
    assert one == other


async def test_an_id_is_of_one_task(
    service: EdgeService, other_service: EdgeService, cloud: Any, picture: Picture
) -> None:
    await service.classify(picture(), asking(), ID)
    with pytest.raises(IdTakenError, match="another task, model, image, clip, question or parameter"):
        await other_service.ask(picture(), "what is it?", VqaParameters(), ID)
    assert len(cloud.frames) == 1


async def test_ids_that_nobody_chose_are_not_kept(service: EdgeService, engine: Any, picture: Picture) -> None:
    answer = await service.classify(picture(), asking())
    await service.classify(picture(1), asking(), answer.frame_id)
    assert len(engine.calls) == 2
