#!/usr/bin/env bash
# opentelemetry-exporter-otlp-proto-http and -grpc 1.45.2 (Python): what a collector says it has dropped is not read.
#
# Seen: a collector that takes the request and answers "partial success: one span rejected, quota is spent" is a SUCCESS
# to both exporters. Nothing is logged, not even at DEBUG: neither the count nor the message is looked at.
#
# One would guess: a warning at least. The answer has a field of its own for a message to people, and a refusal of the
# whole request is logged.
#
# Hurt: operators, who see an exporter without an error and a back end without their traces (too old, too large, over a
# quota, of an attribute that is not allowed), and look for the fault in the network.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check opentelemetry-sdk==1.45.2 opentelemetry-api==1.45.2 \
  opentelemetry-exporter-otlp-proto-http==1.45.2 opentelemetry-exporter-otlp-proto-grpc==1.45.2 \
  opentelemetry-proto==1.45.2 grpcio==1.85.1
"$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import http.server
import io
import logging
import threading
from concurrent import futures
from importlib.metadata import version

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as ByGrpc
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as ByHttp
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

MESSAGE = "quota is spent"
REFUSAL = trace_service_pb2.ExportTraceServiceResponse()
REFUSAL.partial_success.rejected_spans = 1
REFUSAL.partial_success.error_message = MESSAGE
asked = []


class Collector(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        asked.append("http")
        body = REFUSAL.SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Service(trace_service_pb2_grpc.TraceServiceServicer):
    def Export(self, request, context):
        asked.append("grpc")
        return REFUSAL


logs = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=logs)
spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
provider.get_tracer("test").start_span("work").end()

web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
threading.Thread(target=web.serve_forever, daemon=True).start()
server = grpc.server(futures.ThreadPoolExecutor(1))
trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Service(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()

exporters = {
    "http": ByHttp(endpoint=f"http://127.0.0.1:{web.server_port}/v1/traces"),
    "grpc": ByGrpc(endpoint=f"http://127.0.0.1:{port}", insecure=True),
}
for name, exporter in exporters.items():
    result = exporter.export(spans.get_finished_spans())
    told = MESSAGE in logs.getvalue() or "reject" in logs.getvalue().lower()
    print(name, version(f"opentelemetry-exporter-otlp-proto-{name}"), result.name, "told" if told else "not told")
    assert asked[-1] == name
    assert result.name == "SUCCESS" and not told, f"changed: {name}"
server.stop(None)
web.shutdown()
PYTHON
