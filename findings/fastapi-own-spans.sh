#!/usr/bin/env bash
# fastapi 0.165.0 with the OpenTelemetry SDK 1.45.2: FastAPI makes spans and metrics of its own, without being told to.
#
# Seen: where a process has set OpenTelemetry's global providers, for whatever purpose, each request to a plain FastAPI
# application makes four spans (dependencies, endpoint, serialization, and a SERVER span over them) and the metrics
# http.server.request.duration and http.server.active_requests. No instrumentation is installed or switched on.
# FastAPI(telemetry={"tracing": False, "metrics": False}) makes none.
#
# One would guess: none. An application used to be traced by the package opentelemetry-instrumentation-fastapi, or by a
# middleware of its own.
#
# Hurt: who has such a middleware: now every request has two SERVER spans, and rates that are counted from spans double;
# who pays by the span: four for each health check; who holds that no path of a request leaves the process.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0 httpx==0.28.1 \
  opentelemetry-sdk==1.45.2 opentelemetry-api==1.45.2
env -u OTEL_SDK_DISABLED -u OTEL_TRACES_SAMPLER "$folder/venv/bin/python" - <<'PYTHON'
import asyncio

import fastapi
import httpx
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
trace.set_tracer_provider(provider)
metrics.set_meter_provider(MeterProvider([reader]))


async def item(number: int):
    return {"number": number}


async def ask(app):
    app.add_api_route("/items/{number}", item)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        assert (await client.get("/items/3")).json() == {"number": 3}


print("fastapi", fastapi.__version__)
asyncio.run(ask(fastapi.FastAPI(telemetry={"tracing": False, "metrics": False})))
assert not spans.get_finished_spans(), "changed: spans although they are off"
assert reader.get_metrics_data() is None, "changed: metrics although they are off"
asyncio.run(ask(fastapi.FastAPI()))
seen = {(span.kind.name, span.name) for span in spans.get_finished_spans()}
for kind, name in sorted(seen):
    print(f"span {kind} {name}")
data = reader.get_metrics_data()
names = {m.name for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics} if data else set()
print("metrics", sorted(names))
assert ("SERVER", "GET /items/{number}") in seen, "changed: no server span of FastAPI's own"
assert len(seen) == 4, "changed: other spans"
assert "http.server.request.duration" in names, "changed: no metrics of FastAPI's own"
PYTHON
