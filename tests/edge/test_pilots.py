"""Pilots are part of every frame's cost, so that they come off the cap."""

from collections.abc import Callable
from typing import Any

import pytest

from edge.service import EdgeService
from thinwire.csi import PERFECT
from thinwire.errors import BudgetError, InvalidRequestError, OverBudgetError
from thinwire.rest.schemas import Parameters

Picture = Callable[..., bytes]


def asking(**parameters: Any) -> Parameters:
    return Parameters.model_validate(parameters)


async def test_what_the_link_costs_in_pilots_is_learnt_and_kept_within_the_cap(
    service: EdgeService, cloud: Any, engine: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    cloud.csi = "pilots:count=2,every=8"
    budget = {"channel_uses": 39}
    first = await service.classify(picture(), asking(budget=budget))
    # 32 symbols and their 8 pilots are one use too many.
    second = await service.classify(picture(), asking(budget=budget))
    third = await service.classify(picture(), asking(budget={"channel_uses": 40}))
    assert [one.policy_id for one in (first, second, third)] == [fine.policy.id, coarse.policy.id, fine.policy.id]
    assert [call.cap for call in engine.calls] == [39, 31, 32]
    assert all(len(frame.symbols) // 8 * 10 / 8 <= 40 for frame in cloud.frames[1:])


async def test_what_is_asked_for_counts_for_its_own_request_only(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    budget = {"channel_uses": 39}
    await service.classify(picture(), asking(budget=budget, channel={"csi": "pilots:count=2,every=8"}))
    await service.classify(picture(), asking(budget=budget))
    assert [call.cap for call in engine.calls] == [31, 39]
    assert [frame.channel.csi for frame in cloud.frames] == ["pilots:count=2,every=8", ""]


@pytest.mark.parametrize(
    ("csi", "uses", "error", "says"),
    [
        ("telepathy", 40, InvalidRequestError, "csi must be perfect, none, or like"),
        ("pilots:count=9", 9, BudgetError, "leave none for the payload"),
        ("pilots:count=9", 12, BudgetError, "leave 3 for the payload"),
    ],
)
async def test_what_cannot_be_is_an_error(
    service: EdgeService, cloud: Any, picture: Picture, csi: str, uses: int, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        await service.classify(picture(), asking(budget={"channel_uses": uses}, channel={"csi": csi}))
    assert not cloud.frames


async def test_a_frame_that_the_link_finds_too_dear_is_made_again(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    def refusal(frame: Any) -> OverBudgetError | None:
        cost = len(frame.symbols) // 8 * 10 // 8
        return OverBudgetError("too dear", "pilots:count=2,every=8") if cost > frame.max_channel_uses > 0 else None

    cloud.refusal = refusal
    answer = await service.classify(picture(), asking(budget={"channel_uses": 39}))
    assert [call.cap for call in engine.calls] == [39, 31]
    assert [frame.max_channel_uses for frame in cloud.frames] == [39, 39]
    assert answer.edge_gmacs == 0.5
    await service.classify(picture(), asking())
    assert cloud.frames[-1].max_channel_uses == 0


@pytest.mark.parametrize("csi", ["perfect", "", "telepathy"])
async def test_a_refusal_that_teaches_nothing_is_the_answer(
    service: EdgeService, cloud: Any, picture: Picture, csi: str
) -> None:
    cloud.refusal = lambda frame: OverBudgetError("too dear", csi)
    with pytest.raises(OverBudgetError, match="too dear"):
        await service.classify(picture(), asking(budget={"channel_uses": 39}))
    assert len(cloud.frames) == 1


async def test_a_link_that_keeps_changing_is_not_run_after(service: EdgeService, cloud: Any, picture: Picture) -> None:
    texts = iter([f"pilots:count={count}" for count in range(1, 60)])
    cloud.refusal = lambda frame: OverBudgetError("too dear", next(texts))
    with pytest.raises(OverBudgetError, match="too dear"):
        await service.classify(picture(), asking(budget={"channel_uses": 39}))
    assert len(cloud.frames) == 2


async def test_what_a_request_asks_for_itself_is_not_learnt(service: EdgeService, cloud: Any, picture: Picture) -> None:
    cloud.refusal = lambda frame: OverBudgetError("too dear", "pilots:count=4")
    with pytest.raises(OverBudgetError, match="too dear"):
        await service.classify(picture(), asking(budget={"channel_uses": 39}, channel={"csi": "none"}))
    assert len(cloud.frames) == 1
    assert service.device.channel.csi == PERFECT


async def test_what_the_link_tells_again_and_again_is_parsed_once(
    service: EdgeService, cloud: Any, picture: Picture, csi_parsed: list[str]
) -> None:
    cloud.csi = "pilots:count=2,every=8"
    for _ in range(5):
        await service.classify(picture(), asking())
    assert csi_parsed == [cloud.csi]
