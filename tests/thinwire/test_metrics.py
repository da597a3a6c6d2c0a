import math
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from channel.proxy import ChannelMetrics
from cloud.metrics import CloudMetrics
from edge.device import EdgeMetrics
from tests.exposition import outcomes, samples
from tests.parts import make_bundle
from thinwire.errors import BudgetError
from thinwire.metrics import Outcomes
from thinwire.rest.routes import add_common


def show(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


@pytest.mark.parametrize(
    ("error", "outcome"), [(BudgetError("too little"), "budget_not_met"), (RuntimeError(), "internal")]
)
def test_an_error_is_counted_once_by_its_code(error: BaseException, outcome: str) -> None:
    registry = CollectorRegistry()
    counter = Outcomes("things", "Things", "edge", registry)
    for context in (counter.counting, counter.counting_failure):
        with pytest.raises(type(error)), context():
            raise error
    assert outcomes(show(registry), "things_total") == {outcome: 2}


def test_a_success_is_counted_by_the_one_that_counts_successes() -> None:
    registry = CollectorRegistry()
    counter = Outcomes("things", "Things", "edge", registry)
    assert samples(show(registry)) == {"things_total{outcome=ok,service=edge}": 0}
    with counter.counting_failure():
        pass
    assert outcomes(show(registry), "things_total") == {}
    with counter.counting():
        pass
    assert outcomes(show(registry), "things_total") == {"ok": 1}


@pytest.mark.parametrize("told_ms", [math.nan, math.inf, -1.0])
def test_a_peers_impossible_time_spoils_no_sum(told_ms: float) -> None:
    metrics = EdgeMetrics()
    metrics.observe_stages(1000.0, 500.0, 250.0, 2000.0)
    metrics.observe_stages(1000.0, told_ms, told_ms, 2000.0)
    seen = samples(show(metrics.registry))
    for stage, count, total in [("edge", 2, 2.0), ("channel", 1, 0.5), ("cloud", 1, 0.25), ("total", 2, 4.0)]:
        assert seen[f"thinwire_stage_seconds_count{{service=edge,stage={stage}}}"] == count
        assert seen[f"thinwire_stage_seconds_sum{{service=edge,stage={stage}}}"] == pytest.approx(total)


@pytest.mark.parametrize(
    ("make", "counter"),
    [(EdgeMetrics, "requests"), (CloudMetrics, "requests"), (CloudMetrics, "frames"), (ChannelMetrics, "frames")],
)
def test_names_are_ours_and_two_services_are_separate(make: Callable[[], Any], counter: str) -> None:
    first, second = make(), make()
    getattr(first, counter).count("ok")
    assert outcomes(show(first.registry), f"thinwire_{counter}_total") == {"ok": 1}
    assert outcomes(show(second.registry), f"thinwire_{counter}_total") == {}
    families = list(text_string_to_metric_families(show(first.registry)))
    assert all(family.name.startswith("thinwire_") and family.documentation for family in families)


def test_nothing_heard_is_no_snr() -> None:
    metrics = EdgeMetrics()
    assert math.isnan(samples(show(metrics.registry))["thinwire_snr_db"])
    metrics.observe_snr_db(-3.5)
    assert samples(show(metrics.registry))["thinwire_snr_db"] == -3.5


@pytest.mark.parametrize("told_db", [math.nan, math.inf, -math.inf])
def test_a_peers_impossible_snr_is_left_out(told_db: float) -> None:
    metrics = CloudMetrics()
    for snr_db in (-40.0, told_db, None, 12.0, 1e300):
        metrics.observe_frame_size(3, 12, snr_db)
    seen = samples(show(metrics.registry))
    assert (seen["thinwire_frame_snr_db_count"], seen["thinwire_frame_tokens_count"]) == (3, 5)


def test_a_name_is_of_one_type_in_all_three_processes() -> None:
    kinds: dict[str, str] = {}
    for metrics in (EdgeMetrics(), CloudMetrics(), ChannelMetrics()):
        for family in text_string_to_metric_families(show(metrics.registry)):
            assert kinds.setdefault(family.name, family.type) == family.type


async def test_the_route_shows_the_registry_it_was_given() -> None:
    async def ready() -> bool:
        return True

    metrics, app = CloudMetrics(), FastAPI()
    add_common(app, [make_bundle()], ready, metrics.registry)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://any") as client:
        metrics.frames.count("ok")
        response = await client.get("/metrics")
        document = (await client.get("/openapi.json")).json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert outcomes(response.text, "thinwire_frames_total") == {"ok": 1}
    assert list(document["paths"]["/metrics"]["get"]["responses"]["200"]["content"]) == ["text/plain"]
