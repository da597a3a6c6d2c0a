"""One trace through three real processes, as a collector gets it; and none where nobody asked for one."""

import json
import os
import random
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from channel.profiles import Profile
from deploy.ports import HOST, Ports
from deploy.testbed import LocalTestbed
from tests.e2e.loopback import loopback
from tests.e2e.peers import until
from tests.e2e.test_fuzz_frames import valid_frame
from tests.exposition import outcomes, samples
from tests.parts import random_pixels
from tests.spans import recorded
from thinwire.bundle import Bundle
from thinwire.images import to_png
from thinwire.rest.schemas import Parameters
from thinwire.v1 import link_pb2_grpc

PNG = {"content-type": "image/png"}
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Takes OTLP over HTTP, as a collector does, and keeps the spans with their service's name."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Span]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                request = ExportTraceServiceRequest()
                request.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
                for resource in request.resource_spans:
                    names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        outer.spans += [(names["service.name"], span) for span in scope.spans]
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def trace_of(self, request_id: str) -> str:
        """Id of the one trace that has a span of this request at the edge."""
        (trace,) = {
            span.trace_id.hex()
            for _, span in self.spans
            if span.name == "image" and attributes(span)["thinwire.request_id"] == request_id
        }
        return trace

    def tree(self, trace: str) -> dict[str, tuple[str, str | None]]:
        """Of each span of a trace: its service, and its parent's name; two of one name differ by service."""
        members = [(service, span) for service, span in self.spans if span.trace_id.hex() == trace]
        names = {span.span_id: span.name for _, span in members}
        assert len({span.span_id for _, span in members}) == len(members)
        found: dict[str, tuple[str, str | None]] = {}
        for service, span in members:
            key = span.name if span.name != "queue" else f"{span.name} of the {service.removeprefix('thinwire-')}"
            assert key not in found
            found[key] = (service.removeprefix("thinwire-"), names.get(span.parent_span_id))
        return found

    def one(self, trace: str, name: str) -> Span:
        (span,) = [span for _, span in self.spans if span.trace_id.hex() == trace and span.name == name]
        return span

    def errors(self, trace: str) -> dict[str, str]:
        """Error codes by span."""
        members = [span for _, span in self.spans if span.trace_id.hex() == trace]
        return {
            span.name: attributes(span)["error.type"]
            for span in members
            if span.status.code == Status.STATUS_CODE_ERROR
        }


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no exporter."""
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture
def collector(clean: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    clean.setenv("OTEL_TRACES_EXPORTER", "otlp")
    clean.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    yield collector
    collector.stop()


def lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


WHOLE = {
    "request": ("edge", None),
    "image": ("edge", "request"),
    "decode": ("edge", "image"),
    "encode": ("edge", "image"),
    "queue of the edge": ("edge", "encode"),
    "engine": ("edge", "encode"),
    "link": ("edge", "image"),
    "transmission": ("channel", "link"),
    "frame": ("cloud", "transmission"),
    "receive": ("cloud", "frame"),
    "queue of the cloud": ("cloud", "frame"),
    "model": ("cloud", "frame"),
}


def test_one_trace_through_three_processes(collector: Collector, shipped: Bundle, tmp_path: Path) -> None:
    image = to_png(random_pixels(1, seed=5)[0])
    good, named, taken, refused = (secrets.token_hex(16) for _ in range(4))
    with LocalTestbed([shipped.name], Ports.free(), log_folder=tmp_path) as testbed:

        def post(image: bytes, request_id: str, **headers: str) -> httpx.Response:
            given = PNG | {"idempotency-key": request_id} | headers
            return httpx.post(f"{testbed.edge_url}/v1/classify", content=image, headers=given, timeout=60)

        answer = post(image, good).json()
        assert post(image, named, traceparent=f"00-{TRACE}-{SPAN}-01").status_code == 200
        # The cloud refuses another frame under a name that it knows, which this edge has not used.
        frame = valid_frame(shipped, random.Random(5))
        frame.link_id, frame.request_id = "edge", taken
        with grpc.insecure_channel(f"{HOST}:{testbed.ports.cloud_grpc}") as channel:
            link_pb2_grpc.SemanticLinkStub(channel).Infer(frame, timeout=60)
        failed = post(image, taken, traceparent=f"00-{TRACE[::-1]}-{SPAN}-01")
        assert (failed.status_code, failed.json()["error"]) == (409, "id_taken")
        body = {"inputs": "aGVsbG8=", "parameters": {"budget": {"channel_uses": 1}}}
        headers = {"traceparent": f"00-{refused}-{SPAN}-01"}
        assert httpx.post(f"{testbed.edge_url}/v1/classify", json=body, headers=headers, timeout=60).status_code == 422
        plain = httpx.post(f"{testbed.cloud_url}/v1/classify", content=image, headers=PNG, timeout=60)
        metrics = httpx.get(f"http://127.0.0.1:{testbed.ports.channel_metrics}/metrics", timeout=60).text
    # Nothing was flushed by hand: a process sends what is left as it ends.
    trace = collector.trace_of(good)
    assert collector.tree(trace) == WHOLE
    assert collector.errors(trace) == {}
    cost = {"thinwire.tokens": answer["link"]["tokens"], "thinwire.channel_uses": answer["link"]["channel_uses"]}
    for name in ("image", "transmission", "frame"):
        seen = attributes(collector.one(trace, name))
        assert seen.items() >= (cost | {"thinwire.request_id": good, "thinwire.snr_db": 10.0}).items()
    assert attributes(collector.one(trace, "image"))["thinwire.policy"] == answer["policy"]["id"]
    assert attributes(collector.one(trace, "transmission"))["thinwire.link_id"] == "edge"
    assert attributes(collector.one(trace, "model"))["thinwire.batch"] == 1
    assert attributes(collector.one(trace, "request"))["thinwire.http_status"] == 200

    # The caller's trace goes on, and its span is the parent.
    assert collector.tree(TRACE) == WHOLE
    assert collector.one(TRACE, "request").parent_span_id.hex() == SPAN

    in_the_cloud = collector.errors(TRACE[::-1])
    assert in_the_cloud == dict.fromkeys(("request", "image", "link", "transmission", "frame"), "id_taken")
    assert collector.errors(refused) == dict.fromkeys(("request", "image", "decode"), "invalid_image")
    assert "transmission" not in collector.tree(refused)
    (plain_trace,) = {
        span.trace_id.hex()
        for _, span in collector.spans
        if attributes(span).get("thinwire.request_id") == plain.json()["id"]
    }
    assert collector.tree(plain_trace)["model"] == ("cloud", "request")

    for name in ("edge", "cloud"):
        (line,) = [line for line in lines(tmp_path / f"{name}.log") if line.get("request_id") == good]
        assert line["trace_id"] == trace
    assert outcomes(metrics, "thinwire_frames_total") == {"ok": 2, "id_taken": 1}
    assert samples(metrics)["thinwire_channel_uses_total{part=payload}"] >= 2 * answer["link"]["channel_uses"]


def test_a_collector_that_is_down_costs_nothing_but_its_traces(
    clean: pytest.MonkeyPatch, shipped: Bundle, tmp_path: Path
) -> None:
    clean.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    clean.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    clean.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    image = to_png(random_pixels(1)[0])
    with LocalTestbed([shipped.name], Ports.free(), log_folder=tmp_path) as testbed:

        def told() -> bool:
            answer = httpx.post(f"{testbed.edge_url}/v1/classify", content=image, headers=PNG, timeout=60)
            assert answer.status_code == 200
            return all("traces are lost" in log.read_text() for log in tmp_path.glob("*.log"))

        until(told)
        # More attempts, none of them told.
        assert [told() for _ in range(10)] == [True] * 10
        processes = testbed._processes.values()
        start = time.monotonic()
        for process in processes:
            process.terminate()
        assert [process.wait(60) for process in processes] == [0, 0, 0]
        # OpenTelemetry's own patience is half a minute.
        assert time.monotonic() - start < 20
    for name in ("edge", "channel", "cloud"):
        messages = [line["message"] for line in lines(tmp_path / f"{name}.log")]
        assert sum("traces are lost" in message for message in messages) == 1
        assert not any("export" in message or "retry" in message.lower() for message in messages)


def test_without_an_exporter_the_sdk_is_not_loaded(clean: pytest.MonkeyPatch, shipped: Bundle, tmp_path: Path) -> None:
    clean.setenv("PYTHONPROFILEIMPORTTIME", "1")
    with LocalTestbed([shipped.name], Ports.free(), log_folder=tmp_path) as testbed:
        image = to_png(random_pixels(1)[0])
        headers = PNG | {"traceparent": f"00-{TRACE}-{SPAN}-01"}
        answer = httpx.post(f"{testbed.edge_url}/v1/classify", content=image, headers=headers, timeout=60)
        assert answer.status_code == 200
    for name in ("edge", "channel", "cloud"):
        log = (tmp_path / f"{name}.log").read_text()
        assert "thinwire.tracing" in log
        assert "opentelemetry.sdk" not in log
        assert "opentelemetry.exporter" not in log
        # FastAPI brings the API, which the channel does without.
        assert name != "channel" or "opentelemetry" not in log


async def test_each_frame_of_a_stream_has_a_trace_of_its_own(tiny_bundle: Bundle) -> None:
    async def images() -> AsyncIterator[bytes]:
        for pixels in random_pixels(3, seed=8):
            yield to_png(pixels)
        yield b"no image"

    with recorded() as spans:
        async with loopback(tiny_bundle, "stream", Profile()) as testbed:
            answers = [answer async for answer in testbed.service.classify_stream(images(), Parameters())]
        assert len(answers) == 4
        roots = spans.named("image")
        assert [span.parent for span in roots] == [None] * 4
        assert len({span.context.trace_id for span in roots}) == 4
        for child, parent in (("frame", "transmission"), ("transmission", "link"), ("link", "image")):
            by_id = {span.context.span_id: span for span in spans.named(parent)}
            assert len(spans.named(child)) == 3
            for span in spans.named(child):
                assert by_id[span.parent.span_id].context.trace_id == span.context.trace_id
        numbers = {span.context.trace_id: span.attributes["thinwire.sequence_number"] for span in roots}
        assert sorted(numbers.values()) == [0, 1, 2, 3]
