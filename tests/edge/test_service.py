import asyncio
import math
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.front import Front
from policies.fronts import FrontFile, Fronts
from policies.policy import Policy
from thinwire.bundle import FRONT, Bundle
from thinwire.channels import Channel
from thinwire.errors import (
    BudgetError,
    DeadlineError,
    InvalidRequestError,
    ThinwireError,
    UnknownPolicyError,
)
from thinwire.frames import check_frame, check_power
from thinwire.rest.schemas import Parameters

Picture = Callable[..., bytes]


def asking(**parameters: Any) -> Parameters:
    return Parameters.model_validate(parameters)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_the_frame_says_what_was_asked_and_made(
    service: EdgeService, bundle: Bundle, cloud: Any, fine: Any, picture: Picture
) -> None:
    await service.classify(picture(), asking(top_k=3, channel={"model": "awgn", "snr_db": 9.0, "seed": 0}))
    (frame,) = cloud.frames
    check_power(check_frame(frame))
    assert (frame.link_id, frame.sequence_number, frame.task) == ("camera", 0, "classify")
    assert frame.bundle_digest == bundle.digest
    assert (frame.policy_id, frame.policy_digest) == (fine.policy.id, fine.policy.digest)
    assert (frame.tokens, frame.symbols_per_token, frame.top_k) == (8, 4, 3)
    assert (frame.channel.model, frame.channel.snr_db) == ("awgn", 9.0)
    # A seed of 0 is a seed; one that is left out is the link's own.
    assert frame.channel.HasField("seed")
    assert not frame.HasField("reception")


async def test_a_channel_that_was_not_asked_for_is_left_out(service: EdgeService, cloud: Any, picture: Picture) -> None:
    await service.classify(picture(), asking())
    await service.classify(picture(), asking(channel={"model": "awgn"}))
    assert not cloud.frames[0].HasField("channel")
    assert not cloud.frames[1].channel.HasField("snr_db")
    assert not cloud.frames[1].channel.HasField("seed")


async def test_the_answer_is_the_clouds_with_the_proxys_account(
    service: EdgeService, cloud: Any, fine: Any, picture: Picture
) -> None:
    answer = await service.classify(picture(), asking(top_k=2))
    assert answer.frame_id == cloud.frames[0].request_id
    assert len(answer.outputs) == 2
    assert answer.outputs[0][1] > answer.outputs[1][1]
    assert (answer.policy_id, answer.policy_digest, answer.capped) == (fine.policy.id, fine.policy.digest, False)
    assert answer.tokens == 8
    assert (answer.uses.payload, answer.uses.pilots, answer.uses.side_information) == (32, 2, 1)
    assert answer.cbr == pytest.approx(35 / (8 * 8 * 3))
    assert (answer.snr_db, answer.airtime_ms, answer.edge_gmacs) == (10.0, 0.5, 0.25)
    assert answer.encoded.merge_map.tolist() == [n // 2 for n in range(16)]
    assert (answer.channel_ms, answer.cloud_ms) == (1.0, 2.0)
    assert 0 < answer.edge_ms < answer.total_ms
    assert answer.logits.size == 0


async def test_without_a_proxy_the_uses_are_our_own_count(service: EdgeService, cloud: Any, picture: Picture) -> None:
    cloud.snr_db = None
    answer = await service.classify(picture(), asking())
    assert (answer.uses.payload, answer.uses.total) == (32, 32)
    assert answer.cbr == pytest.approx(32 / (8 * 8 * 3))
    assert (answer.snr_db, answer.airtime_ms, answer.channel_ms) == (None, 0.0, None)


async def test_ids_are_random_or_the_callers(service: EdgeService, cloud: Any, picture: Picture) -> None:
    answers = [await service.classify(picture(), asking()) for _ in range(2)]
    assert answers[0].frame_id != answers[1].frame_id
    mine = await service.classify(picture(), asking(), request_id="ab" * 16, want_logits=True)
    assert mine.frame_id == cloud.frames[2].request_id == "ab" * 16
    assert cloud.frames[2].want_logits
    assert mine.logits.shape == (6,)
    assert mine.logits.dtype == np.float32


async def test_the_log_has_a_line_for_every_frame(
    service: EdgeService, coarse: Any, picture: Picture, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "edge.sender"):
        answer = await service.classify(picture(), asking(budget={"channel_uses": 31}))
        await service.classify(picture(), asking(policy="none"))
    line, unmerged = [record for record in caplog.records if record.name == "edge.sender"]
    assert (line.front, unmerged.front) == ("awgn at 10 dB", None)
    assert (line.request_id, line.policy, line.snr_db) == (answer.frame_id, coarse.policy.id, answer.snr_db)
    assert (line.tokens, line.channel_uses, line.answer) == (answer.tokens, answer.uses.total, answer.outputs[0][0])


async def test_the_budget_chooses_the_policy(
    service: EdgeService, cloud: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    rich = await service.classify(picture(), asking(budget={"channel_uses": 32}))
    poor = await service.classify(picture(), asking(budget={"channel_uses": 31}))
    thin = await service.classify(picture(), asking(budget={"bandwidth_hz": 1000, "airtime_ms": 8.9}))
    assert [answer.policy_id for answer in (rich, poor, thin)] == [
        fine.policy.id,
        coarse.policy.id,
        coarse.policy.id,
    ]
    assert len(cloud.frames[2].symbols) <= 8 * 8


async def test_an_airtime_follows_the_links_symbol_rate(
    service: EdgeService, cloud: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    async def policy() -> str:
        return (await service.classify(picture(), asking(budget={"airtime_ms": 3.2}))).policy_id

    # 32 uses at the nominal rate of 10 kHz.
    assert await policy() == fine.policy.id
    for cloud.symbol_rate_hz, following in ((9_000.0, coarse), (20_000.0, fine), (2_600.0, coarse)):
        await service.classify(picture(), asking(channel={"snr_db": 3.0}))
        assert await policy() == following.policy.id
    assert len(cloud.frames[-1].symbols) <= 8 * int(2_600 * 3.2 / 1000)
    # 6 uses hold 3 tokens of the rate 2, and no policy's usual frame.
    cloud.symbol_rate_hz = 2_000.0
    await service.classify(picture(), asking())
    with pytest.raises(BudgetError, match=r"bandwidth_hz 2000\.0 for airtime_ms 3\.2\) 6, the least .* is 8"):
        await policy()


@pytest.mark.parametrize("rate_hz", [0.0, -1.0, math.nan, math.inf])
async def test_a_rate_that_is_none_is_not_followed(
    service: EdgeService, cloud: Any, fine: Any, picture: Picture, rate_hz: float
) -> None:
    cloud.symbol_rate_hz = rate_hz
    for _ in range(2):
        answer = await service.classify(picture(), asking(budget={"airtime_ms": 3.2}))
        assert answer.policy_id == fine.policy.id


async def test_an_explicit_policy_overrides_the_choice_but_not_the_cap(
    service: EdgeService, cloud: Any, engine: Any, fine: Any, picture: Picture
) -> None:
    answer = await service.classify(picture(), asking(policy=fine.policy.id, budget={"channel_uses": 21}))
    assert engine.calls[0].cap == 21
    assert (answer.policy_id, answer.capped, answer.tokens) == (fine.policy.id, True, 5)
    assert len(cloud.frames[0].symbols) == 5 * 4 * 8 <= 21 * 8
    assert cloud.frames[0].tokens == 5


async def test_a_frame_over_the_cap_is_never_sent(
    service: EdgeService, cloud: Any, engine: Any, fine: Any, picture: Picture
) -> None:
    engine.obeys_cap = False
    with pytest.raises(ThinwireError, match="32 channel uses under a cap of 31") as raised:
        await service.classify(picture(), asking(policy=fine.policy.id, budget={"channel_uses": 31}))
    assert raised.value.http_status == 500
    assert cloud.frames == []


async def test_none_is_the_unmerged_reference_under_the_same_cap(
    service: EdgeService, bundle: Bundle, cloud: Any, engine: Any, picture: Picture
) -> None:
    whole = await service.classify(picture(), asking(policy="none"))
    capped = await service.classify(picture(), asking(policy="none", budget={"channel_uses": 40}))
    assert engine.calls[0].policy == Policy.unmerged(2, 4)
    assert (whole.policy_id, whole.policy_digest) == ("none", Policy.unmerged(2, 4).digest)
    assert (whole.tokens, whole.capped) == (16, False)
    assert (capped.tokens, capped.capped) == (10, True)
    with pytest.raises(BudgetError):
        await service.classify(picture(), asking(policy="none", budget={"channel_uses": 3}))


async def test_none_without_a_measured_reference_has_the_highest_rate(
    bare_service: EdgeService, picture: Picture
) -> None:
    answer = await bare_service.classify(picture(), asking(policy="none"))
    bundle = bare_service.bundle
    assert (answer.policy_id, answer.capped) == ("none", False)
    assert answer.uses.payload == answer.tokens * max(bundle.codec.rates)
    bare_service.device.close()


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"policy": "p-unknown"}, UnknownPolicyError),
        ({"budget": {"channel_uses": 1}}, BudgetError),
        ({"budget": {"channel_uses": 7}}, BudgetError),
        ({"budget": {"min_accuracy": 0.99}}, BudgetError),
        ({"budget": {"bandwidth_hz": 1000.0}}, InvalidRequestError),
        ({"channel": {"model": "pigeon"}}, InvalidRequestError),
    ],
)
async def test_what_cannot_be_met_is_an_error(
    service: EdgeService, picture: Picture, parameters: dict[str, Any], error: type[ThinwireError]
) -> None:
    with pytest.raises(error):
        await service.classify(picture(), asking(**parameters))


async def test_the_snr_that_was_fed_back_changes_the_next_choice(
    service: EdgeService, cloud: Any, engine: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    cloud.snr_db = 0.0
    first = await service.classify(picture(), asking())
    second = await service.classify(picture(), asking())
    assert [first.policy_id, second.policy_id] == [fine.policy.id, coarse.policy.id]
    assert [call.snr_db for call in engine.calls] == [10.0, 0.0]


async def test_an_snr_that_was_asked_for_counts_for_its_own_request_only(
    service: EdgeService, engine: Any, coarse: Any, fine: Any, picture: Picture
) -> None:
    asked = await service.classify(picture(), asking(channel={"snr_db": 0.0}))
    plain = await service.classify(picture(), asking())
    assert asked.snr_db == 0.0
    assert [asked.policy_id, plain.policy_id] == [coarse.policy.id, fine.policy.id]
    assert [call.snr_db for call in engine.calls] == [0.0, 10.0]


async def test_the_model_at_hand_is_asked_for_or_fed_back_or_nominal(
    bundle: Bundle, engine: Any, front_file: FrontFile, client: LinkClient, cloud: Any, coarse: Any, picture: Picture
) -> None:
    channels = [Channel(model, 10.0) for model in ("awgn", "rayleigh", "rician")]
    fronts = tuple(Front(bundle.name, bundle.digest, (replace(coarse, channel=channel),)) for channel in channels)
    Fronts(fronts).save(bundle.path(FRONT))
    service = EdgeService(bundle, engine, front_file, Device(client, "camera", Channel("rician", 10.0)))

    async def model(**channel: Any) -> str:
        answer = await service.classify(picture(), asking(channel=channel or None))
        assert answer.front is not None
        return answer.front.model

    # What a request asks for is its own, and says nothing of the link.
    assert [await model(model="rayleigh"), await model()] == ["rayleigh", "rician"]
    # By now the link has told of itself.
    assert await model() == "awgn"
    cloud.model = "rayleigh"
    assert [await model(snr_db=3.0), await model()] == ["awgn", "rayleigh"]
    assert [await model(model="awgn"), await model(model="")] == ["awgn", "rayleigh"]
    # Without a proxy nothing is told, and what was heard stays.
    cloud.snr_db = None
    assert [await model(), await model()] == ["rayleigh", "rayleigh"]
    # A name that nobody knows counts for AWGN.
    cloud.snr_db, cloud.model = 10.0, "pigeon"
    assert [await model(), await model()] == ["rayleigh", "awgn"]
    service.device.close()


async def test_requests_side_by_side_get_what_each_gets_alone(
    service: EdgeService, engine: Any, fine: Any, coarse: Any, picture: Picture
) -> None:
    wanted = [asking(policy=measured.policy.id) for measured in (fine, coarse)] * 2
    alone = [await service.classify(picture(n), parameters) for n, parameters in enumerate(wanted)]
    together = await asyncio.gather(*(service.classify(picture(n), parameters) for n, parameters in enumerate(wanted)))
    assert [(a.outputs, a.policy_id, a.tokens) for a in together] == [(a.outputs, a.policy_id, a.tokens) for a in alone]
    assert len({a.outputs for a in alone}) == 4
    assert {call.thread for call in engine.calls} == {"edge-engine_0"}
    assert threading.current_thread().name != "edge-engine_0"


async def test_a_deadline_frees_the_engine_for_the_next(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    engine.open.clear()
    # Not when the engine is done, which stands still.
    with pytest.raises(DeadlineError, match="100 ms"):
        await service.classify(picture(), asking(timeout_ms=100))
    engine.open.set()
    await service.classify(picture(), asking(timeout_ms=60_000))
    assert len(cloud.frames) == 1


async def test_the_link_gets_what_is_left_of_the_time(service: EdgeService, cloud: Any, picture: Picture) -> None:
    await service.classify(picture(), asking(timeout_ms=60_000))
    assert 30.0 < cloud.remaining_s[0] < 60.0
    cloud.delay_s = lambda _: 600.0
    with pytest.raises(DeadlineError):
        await service.classify(picture(), asking(timeout_ms=1000))
    await asyncio.wait_for(cloud.cancelled.wait(), 60)


async def test_a_cancelled_request_leaves_the_queue(
    service: EdgeService, cloud: Any, engine: Any, picture: Picture
) -> None:
    engine.open.clear()
    running = asyncio.create_task(service.classify(picture(0), asking()))
    await until(lambda: len(engine.calls) == 1)
    queued, last = (asyncio.create_task(service.classify(picture(n), asking())) for n in (1, 2))
    await until(lambda: service.device.engines.waiting == 2)
    running.cancel()
    queued.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    engine.open.set()
    await last
    assert len(engine.calls) == 2
    assert len(cloud.frames) == 1
