#!/usr/bin/env bash
# grpcio 1.85.1 (Python): a client's keepalive ends calls that a connection without it would have finished.
#
# Seen, against a server with default options that takes its time to answer, with nothing wrong in the network:
#   no keepalive                                              answered after 210 s
#   grpc.keepalive_time_ms 1000, and nothing else             UNAVAILABLE, "Too many pings", after 122 or 182 s
#   with grpc.http2.max_pings_without_data 0                  the same after 4 or 5 s
#   and a server with min_ping_interval_without_data_ms 500   answered
# With a keepalive_time_ms of 10,000 it was after 140 s, with 30,000 after 180 s (not tried here). A server takes pings
# during a call without data for abuse when they come more often than every five minutes, and does not say so before.
#
# One would guess: pings keep a connection alive, and a server that answers them does not mind while a call is open. The
# client soon pings once a minute only, which hides it in every test of less than two minutes.
#
# Hurt: who waits long for one answer (a model that loads, a queue, a stream that is silent) behind a NAT or a balancer
# that drops idle connections, which is what keepalive is for.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check grpcio==1.85.1 typing_extensions==4.16.0
"$folder/venv/bin/python" - 2>"$folder/log" <<'PYTHON' || { cat "$folder/log" >&2; exit 1; }
import time
from concurrent import futures

import grpc

LONG_S, SHORT_S = 210, 8
PINGS = [("grpc.keepalive_time_ms", 1000)]
ALL_PINGS = [*PINGS, ("grpc.http2.max_pings_without_data", 0)]
TOLERANT = [("grpc.http2.min_ping_interval_without_data_ms", 500)]


def outcome(silence_s, client, server=()):
    """What becomes of a call that is answered after a silence, with these options of both ends."""

    def answer(request, context):
        time.sleep(silence_s)
        return b"done"

    ends = grpc.server(futures.ThreadPoolExecutor(1), options=server)
    handlers = {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    ends.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("test.Test", handlers)])
    port = ends.add_insecure_port("127.0.0.1:0")
    ends.start()
    begun = time.monotonic()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}", options=client) as channel:
            said = channel.unary_unary("/test.Test/Ask")(b"", timeout=2 * LONG_S).decode()
    except grpc.RpcError as error:
        said = f"{error.code().name}: {error.details()}"
    print(f"{said} after {time.monotonic() - begun:.0f} s; client {dict(client)}, server {dict(server)}", flush=True)
    ends.stop(None)
    return said


print("grpcio", grpc.__version__, "- this takes four minutes", flush=True)
cases = {
    "no keepalive": ("done", LONG_S, ()),
    "keepalive": ("UNAVAILABLE: Too many pings", LONG_S, PINGS),
    "all pings": ("UNAVAILABLE: Too many pings", SHORT_S, ALL_PINGS),
    "a tolerant server": ("done", SHORT_S, ALL_PINGS, TOLERANT),
}
with futures.ThreadPoolExecutor(len(cases)) as pool:
    seen = {name: pool.submit(outcome, *arguments) for name, (_, *arguments) in cases.items()}
for name, (expected, *_) in cases.items():
    assert seen[name].result() == expected, f"changed: {name}: {seen[name].result()}"
PYTHON
