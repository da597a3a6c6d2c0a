"""A device that is asked for more than it can compute: it answers as much as it can, and refuses the rest at once."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from edge.app import create_app
from edge.device import Device
from edge.engine import Encoded
from edge.service import EdgeService
from policies.fronts import FrontFile
from tests.edge.fakes import FakeEngine
from tests.exposition import outcomes
from thinwire import workers
from thinwire.bundle import Bundle
from thinwire.errors import OverloadedError, ThinwireError
from thinwire.images import decoding
from thinwire.rest.schemas import Parameters
from thinwire.v1 import link_pb2

Picture = Callable[..., bytes]
ENGINE_S, TIMEOUT_MS, RUNS = 0.02, 1000, 150


class SlowEngine(FakeEngine):
    """Takes its time, and tells when it begins: load that keeps pace with it is the same on any machine."""

    def __init__(self) -> None:
        super().__init__()
        self.on_run: Callable[[], None] = lambda: None

    def encode(self, *args: Any) -> Encoded:
        self.on_run()
        time.sleep(ENGINE_S)
        return super().encode(*args)


class QuickLink:
    async def infer(self, frame: link_pb2.Frame, timeout_s: float) -> link_pb2.Result:
        await asyncio.sleep(ENGINE_S)
        return link_pb2.Result(request_id=frame.request_id)


@pytest.fixture
def slow_engine() -> SlowEngine:
    return SlowEngine()


@pytest.fixture
async def slow_service(bundle: Bundle, slow_engine: SlowEngine, front_file: FrontFile) -> AsyncIterator[EdgeService]:
    link: Any = QuickLink()
    service = EdgeService(bundle, slow_engine, front_file, Device(link, "camera"))
    yield service
    service.device.close()


async def test_under_twice_the_load_nearly_all_that_is_computed_is_answered(
    slow_service: EdgeService, slow_engine: SlowEngine, picture: Picture
) -> None:
    loop, image, became = asyncio.get_running_loop(), picture(), Counter[str]()
    requests: set[asyncio.Task[None]] = set()

    async def ask() -> None:
        try:
            await slow_service.classify(image, Parameters(timeout_ms=TIMEOUT_MS))
            became["ok"] += 1
        except ThinwireError as error:
            became[error.code] += 1

    def two_more() -> None:
        if len(requests) < 2 * RUNS:
            requests.update(asyncio.create_task(ask()) for _ in range(2))

    slow_engine.on_run = lambda: loop.call_soon_threadsafe(two_more)
    two_more()
    async with asyncio.timeout(120):
        while len(requests) < 2 * RUNS:
            await asyncio.sleep(ENGINE_S)
        await asyncio.gather(*requests)
    # A queue that takes all soon gives nothing back in time.
    assert became["ok"] >= 0.8 * len(slow_engine.calls)
    assert became["ok"] >= 0.8 * RUNS
    assert became["overloaded"] >= 0.4 * RUNS


async def test_what_the_engine_has_no_time_for_is_not_even_decoded(
    service: EdgeService, engine: Any, picture: Picture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "WAITING_SHARE", 0.0)
    await service.classify(picture(), Parameters())
    engine.open.clear()
    running = asyncio.create_task(service.classify(picture(), Parameters()))
    async with asyncio.timeout(60):
        while len(engine.calls) < 2:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(decoding, "decode", lambda _: pytest.fail("decoded"))
    transport = httpx.ASGITransport(create_app(service.device, [service]))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        refused = await http.post("/v1/classify", content=picture(), headers={"content-type": "image/png"})
        assert (refused.status_code, refused.json()["error"]) == (429, OverloadedError.code)
        assert refused.headers["retry-after"] == "1"
        engine.open.set()
        await running
        counted = outcomes((await http.get("/metrics")).text, "thinwire_requests_total")
    assert counted == {"ok": 2, "overloaded": 1}
