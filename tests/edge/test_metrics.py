import asyncio
import base64
import gc
import math
import weakref
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from edge.app import create_app
from edge.device import Device
from edge.link_client import LinkClient
from edge.service import EdgeService
from policies.fronts import FrontFile
from tests.exposition import outcomes, samples
from thinwire.bundle import Bundle
from thinwire.errors import ThinwireError
from thinwire.rest.schemas import Parameters

Picture = Callable[..., bytes]
REQUESTS = "thinwire_requests_total"


def open_app(service: EdgeService) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(create_app(service.device, [service])), base_url="http://edge"
    )


@pytest.fixture
async def http(service: EdgeService) -> AsyncIterator[httpx.AsyncClient]:
    async with open_app(service) as http:
        yield http


async def scrape(http: httpx.AsyncClient) -> str:
    response = await http.get("/metrics")
    assert response.status_code == 200
    return response.text


def show(service: EdgeService) -> str:
    return generate_latest(service.device.metrics.registry).decode()


def body(image: bytes, **parameters: Any) -> dict[str, Any]:
    return {"inputs": base64.b64encode(image).decode(), "parameters": parameters}


async def test_every_request_is_counted_once_by_its_outcome(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    requests: list[dict[str, Any]] = [
        *[{"json": body(picture(number))} for number in range(3)],
        *[{"json": body(picture(), policy=f"made-up-{number}")} for number in range(2)],
        {"json": body(picture(), budget={"channel_uses": 1})},
        {"json": body(b"no image")},
        # Not valid base64: it ends before the service.
        {"json": {"inputs": "*"}},
        {"json": body(picture(), chanel={})},
        # Refused before the endpoint runs.
        {"json": body(picture()), "headers": {"idempotency-key": ""}},
        # The far end's word.
        {"json": body(picture(), channel={"model": "pigeon"})},
    ]
    statuses = [(await http.post("/v1/classify", **request)).status_code for request in requests]
    assert statuses == [200] * 3 + [404] * 2 + [422] * 6
    await http.get("/v1/policies/made-up")
    text = await scrape(http)
    expected = {"ok": 3, "unknown_policy": 2, "budget_not_met": 1, "invalid_image": 2, "invalid_request": 3}
    assert outcomes(text, REQUESTS) == expected
    values = {
        (name, value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        for name, value in sample.labels.items()
        if name != "le"
    }
    stages = {("stage", s) for s in ("decode", "queue", "engine", "edge", "channel", "cloud", "total")}
    assert values == {("service", "edge"), ("bundle", "test"), ("kind", "image")} | stages | {
        ("outcome", outcome) for outcome in expected
    }


async def test_histograms_hold_what_the_answers_said(http: httpx.AsyncClient, fine: Any, picture: Picture) -> None:
    capped = {"policy": fine.policy.id, "budget": {"channel_uses": 21}}
    answers = [
        (await http.post("/v1/classify", json=body(picture(), **parameters))).json()
        for parameters in ({}, {"policy": "none"}, capped, {"budget": {"channel_uses": 8}})
    ]
    await http.post("/v1/classify", json=body(b"no image"))
    seen = samples(await scrape(http))
    assert [answer["link"]["tokens"] for answer in answers] == [8, 16, 5, 4]
    assert (seen["thinwire_frame_tokens_count"], seen["thinwire_frame_tokens_sum"]) == (4, 33)
    assert seen["thinwire_frame_channel_uses_count"] == 4
    assert seen["thinwire_frame_channel_uses_sum"] == sum(answer["link"]["channel_uses"] for answer in answers)
    assert seen["thinwire_frame_channel_uses_sum"] == 32 + 64 + 20 + 8 + 4 * 3
    assert seen["thinwire_capped_frames_total"] == 1
    for stage in ("edge", "channel", "cloud", "total"):
        labels = f"{{service=edge,stage={stage}}}"
        total_s = sum(answer["timings_ms"][stage] for answer in answers) / 1e3
        assert seen[f"thinwire_stage_seconds_count{labels}"] == 4
        assert seen[f"thinwire_stage_seconds_sum{labels}"] == pytest.approx(total_s)


async def test_the_snr_is_the_links_latest_and_not_one_that_was_asked_for(
    http: httpx.AsyncClient, cloud: Any, picture: Picture
) -> None:
    cloud.snr_db = None
    await http.post("/v1/classify", json=body(picture()))
    seen = samples(await scrape(http))
    assert math.isnan(seen["thinwire_snr_db"])
    # Without a proxy the channel took no part.
    assert seen["thinwire_stage_seconds_count{service=edge,stage=channel}"] == 0
    assert seen["thinwire_stage_seconds_count{service=edge,stage=cloud}"] == 1
    for cloud.snr_db in (12.0, 4.5):
        await http.post("/v1/classify", json=body(picture()))
    await http.post("/v1/classify", json=body(picture(), channel={"snr_db": 20}))
    assert samples(await scrape(http))["thinwire_snr_db"] == 4.5


async def test_a_request_that_is_given_up_is_cancelled(service: EdgeService, cloud: Any, picture: Picture) -> None:
    cloud.delay_s = lambda _: 600.0
    call = asyncio.create_task(service.classify(picture(), Parameters()))
    await asyncio.wait_for(cloud.arrived.wait(), 60)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(ThinwireError):
        await service.classify(picture(), Parameters(timeout_ms=50))
    assert outcomes(show(service), REQUESTS) == {"cancelled": 1, "deadline_exceeded": 1}


async def test_an_upload_that_is_cut_short_is_cancelled(service: EdgeService) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    statuses = []

    async def send(message: Any) -> None:
        statuses.append(message.get("status"))

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/classify",
        "query_string": b"",
        "headers": [(b"content-type", b"image/png")],
    }
    await create_app(service.device, [service])(scope, receive, send)
    assert statuses[0] == 499
    assert outcomes(show(service), REQUESTS) == {"cancelled": 1}


async def test_images_of_a_stream_count_too(service: EdgeService, picture: Picture) -> None:
    async def images() -> AsyncIterator[bytes]:
        for image in (picture(0), b"no image", picture(1)):
            yield image

    answers = [answer async for answer in service.classify_stream(images(), Parameters())]
    assert len(answers) == 3
    assert outcomes(show(service), REQUESTS) == {"ok": 2, "invalid_image": 1}
    assert samples(show(service))["thinwire_frame_tokens_count"] == 2


async def test_two_services_in_one_process_are_separate(
    http: httpx.AsyncClient, bare_service: EdgeService, picture: Picture
) -> None:
    async with open_app(bare_service) as other:
        await http.post("/v1/classify", json=body(picture()))
        await other.post("/v1/classify", json=body(picture(), policy="p-nothing"))
        assert outcomes(await scrape(http), REQUESTS) == {"ok": 1}
        assert outcomes(await scrape(other), REQUESTS) == {"unknown_policy": 1}
    bare_service.device.close()


async def test_the_registry_goes_with_its_application(
    bundle: Bundle, engine: Any, front_file: FrontFile, client: LinkClient, picture: Picture
) -> None:
    async def use() -> weakref.ref[Any]:
        service = EdgeService(bundle, engine, front_file, Device(client, "camera"))
        async with open_app(service) as http:
            assert (await http.post("/v1/classify", json=body(picture()))).status_code == 200
            assert (await http.get("/health/ready")).status_code == 200
            await scrape(http)
        service.device.close()
        return weakref.ref(service.device.metrics.registry)

    registry = await use()
    async with asyncio.timeout(60):
        # Until the last callbacks of the request's tasks have run, and the engine's thread has let go.
        while registry() is not None:
            await asyncio.sleep(0.01)
            gc.collect()


async def test_images_that_wait_for_the_engine_are_shown_and_timed(
    service: EdgeService, engine: Any, picture: Picture
) -> None:
    engine.open.clear()
    requests = [asyncio.create_task(service.classify(picture(number), Parameters())) for number in range(3)]
    queue = "thinwire_queue_length{kind=image}"
    async with asyncio.timeout(60):
        while samples(show(service))[queue] != 2:
            await asyncio.sleep(0.01)
    engine.open.set()
    await asyncio.gather(*requests)
    seen = samples(show(service))
    assert seen[queue] == 0
    for stage in ("decode", "queue", "engine"):
        assert seen[f"thinwire_stage_seconds_count{{service=edge,stage={stage}}}"] == 3
