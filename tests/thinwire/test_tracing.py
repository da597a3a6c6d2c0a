"""Spans, their parents and their ends; the collector that is not there."""

import io
import json
import logging
import os
import socket
import sys
import time
from typing import Any

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from tests.spans import recorded
from thinwire import tracing
from thinwire.errors import BudgetError, InvalidRequestError, ThinwireError, UnavailableError
from thinwire.logs import JsonFormatter
from thinwire.v1 import link_pb2

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = (("traceparent", f"00-{TRACE}-{SPAN}-01"), ("tracestate", "vendor=1"))


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


def test_off_there_is_nothing() -> None:
    with tracing.exporting("edge"):
        assert not tracing.is_on()
        with tracing.span("a", tracing.SERVER, PARENT, request_id="1") as given:
            tracing.annotate(x=1)
            tracing.fail("internal")
            tracing.record("b", 0.0, 1.0)
            assert (given, tracing.outgoing(), tracing.traceparent(), tracing.ids()) == (None, (), "", {})


def test_spans_nest_and_name_their_service() -> None:
    with recorded("cloud") as spans:
        with tracing.span("outer", tracing.SERVER, (), request_id="1", nothing=None):
            with tracing.span("inner", tracing.CLIENT):
                tracing.annotate(tokens=3, snr_db=-1.5)
            tracing.annotate(policy="none", missing=None)
        assert spans.family() == {"inner": "outer", "outer": None}
        inner, outer = spans.one("inner"), spans.one("outer")
    assert not tracing.is_on()
    assert (inner.kind, outer.kind) == (SpanKind.CLIENT, SpanKind.SERVER)
    assert inner.attributes == {"thinwire.tokens": 3, "thinwire.snr_db": -1.5}
    assert outer.attributes == {"thinwire.request_id": "1", "thinwire.policy": "none"}
    assert outer.resource.attributes["service.name"] == "thinwire-cloud"
    assert {span.status.status_code for span in (inner, outer)} == {StatusCode.UNSET}


def test_a_parent_is_the_callers_and_an_empty_one_starts_a_trace() -> None:
    with recorded() as spans:
        with tracing.span("around"):
            with tracing.span("served", tracing.SERVER, PARENT):
                headers = dict(tracing.outgoing())
                assert tracing.traceparent() == headers["traceparent"]
            with tracing.span("fresh", tracing.SERVER, ()):
                pass
            for broken in ("", "00-0-0-00", "junk", f"00-{'0' * 32}-{SPAN}-01"):
                with tracing.span("broken", tracing.SERVER, (("traceparent", broken),)):
                    pass
        served = spans.one("served")
        around = spans.one("around").context.trace_id
    assert format(served.context.trace_id, "032x") == TRACE
    assert format(served.parent.span_id, "016x") == SPAN
    assert headers == {
        "traceparent": f"00-{TRACE}-{format(served.context.span_id, '016x')}-01",
        "tracestate": "vendor=1",
    }
    roots = [spans.one("fresh"), *spans.named("broken")]
    assert [span.parent for span in roots] == [None] * 5
    assert len({span.context.trace_id for span in roots} | {around}) == 6


def test_what_the_caller_does_not_sample_is_not_recorded_but_goes_on() -> None:
    with recorded() as spans, tracing.span("served", tracing.SERVER, (("traceparent", f"00-{TRACE}-{SPAN}-00"),)):
        assert tracing.traceparent().startswith(f"00-{TRACE}-")
        assert tracing.traceparent().endswith("-00")
        assert tracing.ids() == {}
        tracing.record("past", 0.0, 1.0)
    assert spans.all() == ()


@pytest.mark.parametrize(
    ("error", "code", "detail"),
    [
        (BudgetError("too little"), "budget_not_met", "too little"),
        # Its text may be anybody's; the log has it.
        (RuntimeError("a secret"), "internal", "internal"),
        (KeyboardInterrupt(), "internal", "internal"),
    ],
)
def test_a_failure_has_its_code(error: BaseException, code: str, detail: str) -> None:
    with recorded() as spans, pytest.raises(type(error)), tracing.span("a"):
        raise error
    span = spans.one("a")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, detail)
    assert span.attributes == {"error.type": code}
    assert span.events == ()


def test_a_clients_text_is_bounded_and_can_be_sent() -> None:
    with recorded() as spans, pytest.raises(ThinwireError), tracing.span("a", policy="\ud800" * 5000):
        raise ThinwireError("\ud800" * 5000)
    span = spans.one("a")
    for text in (span.attributes["thinwire.policy"], span.status.description):
        assert text == "?" * 600


def test_a_stage_is_recorded_after_the_fact() -> None:
    before = time.time_ns()
    start = time.perf_counter()
    with recorded() as spans, tracing.span("around"):
        tracing.record("past", start, start + 0.25, batch=3)
    past = spans.one("past")
    assert spans.family()["past"] == "around"
    assert past.attributes == {"thinwire.batch": 3}
    assert past.end_time - past.start_time == pytest.approx(0.25e9, abs=1e4)
    assert abs(past.start_time - before) < 60e9


@pytest.mark.parametrize("own", ["", "junk", "00-0-0-01", PARENT[0][1] + "\n", PARENT[0][1].upper()])
def test_a_frame_that_names_no_trace_is_of_its_calls(own: str) -> None:
    frame = link_pb2.Frame(traceparent=own)
    assert tracing.incoming(frame, None) == ()
    assert tracing.incoming(frame, (*PARENT, ("cookie", "secret"))) == PARENT


def test_a_frame_that_names_its_trace_is_of_that() -> None:
    frame = link_pb2.Frame(traceparent=f"00-{TRACE}-{SPAN}-00")
    assert tracing.incoming(frame, PARENT) == (("traceparent", frame.traceparent),)


def test_a_log_line_leads_to_its_trace() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter("edge"))
    logger = logging.Logger("x")
    logger.addHandler(handler)
    with recorded():
        logger.info("outside")
        with tracing.span("served", tracing.SERVER, PARENT):
            logger.info("inside", extra={"request_id": "ab"})
            span_id = tracing.traceparent().split("-")[2]
    outside, inside = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert "trace_id" not in outside
    assert (inside["trace_id"], inside["span_id"], inside["request_id"]) == (TRACE, span_id, "ab")


def test_an_unknown_exporter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with (
        pytest.raises(InvalidRequestError, match="one of otlp, console, none, got 'zipkin'"),
        tracing.exporting("edge"),
    ):
        pass


@pytest.mark.parametrize(("protocol", "package"), [("http/protobuf", "http"), ("grpc", "grpc")])
def test_without_the_extra_the_user_is_told_its_name(
    monkeypatch: pytest.MonkeyPatch, protocol: str, package: str
) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setitem(sys.modules, f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter", None)
    with pytest.raises(UnavailableError, match=r"the extra 'tracing'"), tracing.exporting("edge"):
        pass


def test_the_console_gets_one_line_a_span(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "camera-7")
    with tracing.exporting("edge"), tracing.span("a"), tracing.span("b"):
        pass
    spans = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [span["name"] for span in spans] == ["b", "a"]
    assert spans[0]["parent_id"] == spans[1]["context"]["span_id"]
    assert spans[0]["resource"]["attributes"]["service.name"] == "camera-7"


@pytest.mark.parametrize(
    ("protocol", "listens"), [("http/protobuf", True), ("http/protobuf", False), ("grpc", True), ("grpc", False)]
)
def test_a_collector_that_is_down_costs_a_stop_two_seconds_at_most(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, protocol: str, listens: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        # One accepts and never answers; the other is not there.
        port = server.getsockname()[1] if listens else 1
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "10")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        with tracing.exporting("edge"):
            start = time.perf_counter()
            for _ in range(5000):
                with tracing.span("a"):
                    pass
            # More than the queue holds, and never waited for.
            assert time.perf_counter() - start < 15
            time.sleep(0.2)
            start = time.perf_counter()
        # OpenTelemetry's own patience is half a minute.
        assert time.perf_counter() - start < 15
    assert len([record for record in caplog.records if record.name == "thinwire.tracing"]) <= 1


def test_an_outage_is_told_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    from opentelemetry.sdk.trace.export import SpanExportResult

    class Collector:
        def __init__(self) -> None:
            self.answers = [SpanExportResult[name] for name in ("SUCCESS", *["FAILURE"] * 5, "SUCCESS", "SUCCESS")]

        def export(self, spans: Any) -> SpanExportResult:
            return self.answers.pop(0)

    caplog.set_level(logging.INFO)
    exporter = tracing._Reporting(Collector())
    for _ in range(8):
        exporter.export(())
    told = [record.levelname for record in caplog.records if record.name == "thinwire.tracing"]
    assert told == ["WARNING", "INFO"]
