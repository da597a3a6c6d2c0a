"""What a request with `explain` learns, and that others neither ask the link for it nor get it."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from edge import explanation
from edge.explanation import explain
from tests.edge.test_service import asking
from thinwire.frames import check_frame

Picture = Callable[..., bytes]
IMAGE = {"content-type": "image/png"}


def complex_of(pairs: list[list[float]]) -> Any:
    return np.array(pairs) @ (1, 1j)


async def asked(http: httpx.AsyncClient, picture: bytes, headers: Any = IMAGE, **parameters: Any) -> Any:
    answer = await http.post(
        "/v1/classify", content=picture, params={"parameters": json.dumps(parameters)}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_the_groups_and_both_sides_of_the_channel_are_told(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    answer = await asked(http, picture(), explain=True)
    told = answer["explain"]
    assert (told["grid"], told["area"], told["snr_db"]) == ([4, 4], [0, 0, 12, 12], 10.0)
    assert len(set(told["groups"])) == answer["link"]["tokens"] == 8
    assert told["sizes"] == np.bincount(told["groups"]).tolist()
    assert told["tokens_per_layer"] == [8, 8]
    (frame,) = cloud.frames
    sent = check_frame(frame).ravel()
    assert complex_of(told["sent"]) == pytest.approx(sent, abs=1e-6)
    # The fake cloud turns what it gets.
    assert complex_of(told["received"]) == pytest.approx(1j * sent, abs=1e-6)


async def test_who_does_not_ask_gets_nothing_and_has_nothing_sent(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    for parameters in ({}, {"explain": False}):
        assert "explain" not in await asked(http, picture(), **parameters)
    assert not any(frame.want_received for frame in cloud.frames)


async def test_a_frame_can_be_explained_when_it_comes_again(
    http: httpx.AsyncClient, cloud: Any, engine: Any, picture: Picture
) -> None:
    named = IMAGE | {"idempotency-key": "one"}
    plain = await asked(http, picture(), named)
    told = await asked(http, picture(), named, explain=True)
    assert (plain["id"], len(engine.calls)) == (told["id"], 1)
    assert complex_of(told["explain"]["sent"]) == pytest.approx(check_frame(cloud.frames[0]).ravel(), abs=1e-6)


@pytest.mark.parametrize("value", ["true", 1, None])
async def test_what_is_no_truth_value_is_refused(http: httpx.AsyncClient, picture: Picture, value: Any) -> None:
    answer = await http.post(
        "/v1/classify", content=picture(), params={"parameters": json.dumps({"explain": value})}, headers=IMAGE
    )
    assert answer.status_code == 422
    assert "explain" in answer.json()["detail"]


async def test_a_cloud_that_does_not_tell_leaves_what_was_received_out(
    service: Any, bundle: Any, cloud: Any, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One that was not asked for it is as one that does not know of it.
    answer = await service.classify(picture(), asking())
    assert not cloud.frames[0].want_received
    assert explain(bundle, answer).received is None
    monkeypatch.setattr(explanation, "MAX_SYMBOLS", 5)
    answer = await service.classify(picture(), asking(explain=True))
    found = explain(bundle, answer)
    assert len(found.sent) == len(found.received or ()) == 5 < answer.uses.payload


async def test_class_tokens_are_in_no_group(service: Any, bundle: Any, picture: Picture) -> None:
    answer = await service.classify(picture(), asking())
    merge_map = answer.encoded.merge_map
    # As if the first two of the eight tokens were class tokens.
    answer = replace(answer, encoded=replace(answer.encoded, merge_map=np.maximum(merge_map, 2)))
    found = explain(replace(bundle, prefix_tokens=2, patches=15), answer)
    assert set(found.groups) == set(range(6))
    assert found.sizes == answer.encoded.sizes[2:].tolist()
    assert found.grid == (1, 15)
    alone = replace(answer.encoded, merge_map=np.full(16, -1), sizes=np.ones(2, np.int64))
    found = explain(replace(bundle, prefix_tokens=2), replace(answer, encoded=alone))
    assert (set(found.groups), found.sizes) == ({-1}, [])
