"""Each of OpenTelemetry's variables is obeyed, or refused before the process serves."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from thinwire import tracing
from thinwire.errors import InvalidRequestError
from thinwire.otel import exporter_name


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@contextlib.contextmanager
def collecting_grpc():
    """A collector that takes OTLP over gRPC: its address, and what came as (headers, request)."""
    came: list[Any] = []

    class Servicer(TraceServiceServicer):
        def Export(self, request, context):  # noqa: N802
            came.append((dict(context.invocation_metadata()), request))
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(Servicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}", came
    finally:
        server.stop(0).wait()


@contextlib.contextmanager
def collecting_http():
    """A collector that takes OTLP over HTTP: its address, and what came as (headers, request)."""
    came: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            came.append((headers, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", came
        server.shutdown()
        thread.join()


COLLECTORS = {"grpc": collecting_grpc, "http/protobuf": collecting_http}


def set_all(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(f"OTEL_{name}", value)


def resource_of(capsys):
    """The resource of a span of the edge, on the console."""
    with tracing.exporting("edge"), tracing.span("a"):
        pass
    return json.loads(capsys.readouterr().out)["resource"]["attributes"]


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({}, "none"),
        ({"OTEL_TRACES_EXPORTER": ""}, "none"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://a:4318/v1/traces", "OTEL_TRACES_EXPORTER": " "}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://a:4318", "OTEL_TRACES_EXPORTER": "none"}, "none"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_TRACES_EXPORTER": ""}, "none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "True"}, "none"),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, "otlp"),
    ],
)
def test_the_environment_names_the_exporter(environment, name):
    assert exporter_name(environment) == name


def test_the_sdk_disabled_is_off_whatever_else_is_set(monkeypatch, capsys):
    set_all(monkeypatch, TRACES_EXPORTER="console", SDK_DISABLED="true", TRACES_SAMPLER="junk")
    with tracing.exporting("edge"), tracing.span("a"):
        assert not tracing.is_on()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "thinwire-edge"),
        ({"RESOURCE_ATTRIBUTES": "service.name=camera-7"}, "camera-7"),
        ({"RESOURCE_ATTRIBUTES": "service.name=camera%207,host.name=shed"}, "camera 7"),
        ({"RESOURCE_ATTRIBUTES": "service.name=camera-7", "SERVICE_NAME": "camera-8"}, "camera-8"),
        ({"RESOURCE_ATTRIBUTES": "service.name=camera-7", "SERVICE_NAME": ""}, "camera-7"),
        ({"RESOURCE_ATTRIBUTES": "host.name=shed"}, "thinwire-edge"),
        ({"RESOURCE_ATTRIBUTES": "service.name="}, "thinwire-edge"),
        ({"RESOURCE_ATTRIBUTES": ""}, "thinwire-edge"),
        ({"RESOURCE_ATTRIBUTES": "service.name=camera-7,"}, "camera-7"),
        ({"RESOURCE_ATTRIBUTES": ", ,service.name=camera-7,,host.name=shed, "}, "camera-7"),
        ({"RESOURCE_ATTRIBUTES": ","}, "thinwire-edge"),
    ],
)
def test_the_service_is_named_by_the_environment_or_else_by_us(monkeypatch, capsys, variables, name):
    set_all(monkeypatch, TRACES_EXPORTER="console", **variables)
    attributes = resource_of(capsys)
    assert attributes["service.name"] == name
    assert attributes.get("host.name") == ("shed" if "shed" in variables.get("RESOURCE_ATTRIBUTES", "") else None)
    assert attributes["telemetry.sdk.language"] == "python"


@pytest.mark.parametrize(
    ("protocol", "variable"),
    [("grpc", "PROTOCOL"), ("grpc", "TRACES_PROTOCOL"), ("http/protobuf", "PROTOCOL"), ("http/protobuf", None)],
)
def test_spans_are_sent_by_the_protocol_and_with_the_headers_that_are_asked_for(monkeypatch, protocol, variable):
    with COLLECTORS[protocol]() as (url, came):
        set_all(monkeypatch, EXPORTER_OTLP_ENDPOINT=url, EXPORTER_OTLP_HEADERS="X-Key=a%20b,other=1")
        if variable == "TRACES_PROTOCOL":
            # What is said of traces alone wins.
            set_all(monkeypatch, EXPORTER_OTLP_PROTOCOL="http/json")
        if variable is not None:
            set_all(monkeypatch, **{f"EXPORTER_OTLP_{variable}": protocol})
        with tracing.exporting("cloud"), tracing.span("a"):
            pass
    ((headers, request),) = came
    assert headers.items() >= {"x-key": "a b", "other": "1"}.items()
    (resource,) = request.resource_spans
    assert [span.name for scope in resource.scope_spans for span in scope.spans] == ["a"]
    assert {pair.key: pair.value.string_value for pair in resource.resource.attributes}["service.name"] == (
        "thinwire-cloud"
    )


@pytest.mark.parametrize(
    ("sampler", "share", "kept"),
    [
        *(("always_on", None, True), ("always_off", None, False), ("parentbased_always_off", None, False)),
        *(("traceidratio", "0", False), ("traceidratio", "1.0", True), ("parentbased_traceidratio", "0.0", False)),
        # As OpenTelemetry's specification has it: one without its argument keeps all, and an empty name is none.
        *(("traceidratio", None, True), ("parentbased_traceidratio", "", True), ("", "0", True)),
        ("Always_Off", None, False),
    ],
)
def test_the_sampler_is_the_one_that_is_asked_for(monkeypatch, capsys, sampler, share, kept):
    set_all(monkeypatch, TRACES_EXPORTER="console", TRACES_SAMPLER=sampler)
    if share is not None:
        set_all(monkeypatch, TRACES_SAMPLER_ARG=share)
    with tracing.exporting("edge"), tracing.span("a"):
        pass
    assert bool(capsys.readouterr().out) is kept


@pytest.mark.parametrize("propagators", ["", "tracecontext", "tracecontext,baggage", " baggage , tracecontext "])
def test_the_propagator_that_there_is_may_be_named(monkeypatch, capsys, propagators):
    set_all(monkeypatch, TRACES_EXPORTER="console", PROPAGATORS=propagators)
    assert resource_of(capsys)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER must be one of otlp, console, none, got 'zipkin'"),
        (
            {"EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc, got 'http/json'",
        ),
        (
            {"EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_TRACES_PROTOCOL": "thrift"},
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL must be one of http/protobuf, grpc, got 'thrift'",
        ),
        ({"PROPAGATORS": "tracecontext,b3"}, "OTEL_PROPAGATORS must be one of tracecontext, baggage, got 'b3'"),
        ({"PROPAGATORS": "none"}, "OTEL_PROPAGATORS must be one of tracecontext, baggage, got 'none'"),
        ({"TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER must be one of always_on, always_off, "),
        (
            {"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "2"},
            "OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, got '2'",
        ),
        (
            {"TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "half"},
            "OTEL_TRACES_SAMPLER_ARG must be from 0 to 1, got 'half'",
        ),
        ({"TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "nan"}, "OTEL_TRACES_SAMPLER_ARG must be from 0"),
        (
            {"EXPORTER_OTLP_ENDPOINT": "collector:4318"},
            "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL such as http://127.0.0.1:4318, got 'collector:4318'",
        ),
        ({"EXPORTER_OTLP_TRACES_ENDPOINT": "http://"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT must be a URL"),
        ({"EXPORTER_OTLP_ENDPOINT": "http://[::1"}, "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL"),
        (
            {"EXPORTER_OTLP_ENDPOINT": "ftp://collector", "EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_ENDPOINT must be a URL",
        ),
        ({"EXPORTER_OTLP_HEADERS": "a secret"}, "OTEL_EXPORTER_OTLP_HEADERS must be pairs of name=value"),
        ({"EXPORTER_OTLP_HEADERS": 'key="a secret"'}, "OTEL_EXPORTER_OTLP_HEADERS must be pairs of name=value"),
        (
            {"RESOURCE_ATTRIBUTES": "service.name=a,camera"},
            "OTEL_RESOURCE_ATTRIBUTES must be pairs of name=value with commas between them, got 'camera'",
        ),
        ({"RESOURCE_ATTRIBUTES": "=a"}, "OTEL_RESOURCE_ATTRIBUTES must be pairs of name=value"),
        # What OpenTelemetry would warn of, or raise. It does not always name the variable.
        (
            {"EXPORTER_OTLP_COMPRESSION": "lzw"},
            "OpenTelemetry does not take OTEL_EXPORTER_OTLP_COMPRESSION: Unsupported compression type: lzw",
        ),
        ({"EXPORTER_OTLP_TIMEOUT": "soon"}, "OpenTelemetry does not take OTEL_EXPORTER_OTLP_TIMEOUT: Invalid timeout"),
        ({"BSP_MAX_QUEUE_SIZE": "much"}, "OpenTelemetry does not take OTEL_BSP_MAX_QUEUE_SIZE: Unable to parse"),
        ({"BSP_MAX_QUEUE_SIZE": "1"}, "OpenTelemetry does not take OTEL_BSP_MAX_QUEUE_SIZE: ValueError: max_export_"),
        ({"BSP_SCHEDULE_DELAY": "-1"}, "OpenTelemetry does not take OTEL_BSP_SCHEDULE_DELAY: "),
        ({"SPAN_ATTRIBUTE_COUNT_LIMIT": "few"}, "OpenTelemetry does not take OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT: "),
        (
            {"EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_COMPRESSION": "lzw"},
            "OpenTelemetry does not take OTEL_EXPORTER_OTLP_COMPRESSION: ",
        ),
        (
            {"EXPORTER_OTLP_PROTOCOL": "grpc", "EXPORTER_OTLP_TIMEOUT": "soon"},
            "OpenTelemetry does not take OTEL_EXPORTER_OTLP_TIMEOUT: ",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(monkeypatch, caplog, variables, said):
    set_all(monkeypatch, **({"EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"} | variables))
    before = set(threading.enumerate())
    with pytest.raises(InvalidRequestError) as caught, tracing.exporting("edge"):
        pytest.fail("it serves")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert caplog.records == []
    assert set(threading.enumerate()) <= before
    assert logging.getLogger("opentelemetry").propagate


@pytest.mark.parametrize("endpoint", ["127.0.0.1:1", "unix:/run/otel.sock", "http://[::1]:4317", "https://collector"])
def test_grpc_takes_its_own_names_of_a_collector(monkeypatch, endpoint):
    set_all(monkeypatch, EXPORTER_OTLP_ENDPOINT=endpoint, EXPORTER_OTLP_PROTOCOL="grpc")
    with tracing.exporting("edge"):
        assert tracing.is_on()


def test_a_process_that_is_refused_ends_with_one_line_and_status_1():
    environment = os.environ | {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}
    arguments = [sys.executable, "-m", "deploy.cli.main", "channel", "serve", "--listen", "127.0.0.1:0"]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "OTEL_EXPORTER_OTLP_PROTOCOL must be one of http/protobuf, grpc, got 'http/json'" in line
