"""A request whose time runs out ends on time at the edge, and its work ends everywhere."""

import contextlib
import secrets
import signal
import time
from collections.abc import Iterator

import grpc
import httpx
import pytest

from deploy.ports import HOST
from deploy.testbed import LocalTestbed
from tests.e2e.peers import PATIENCE_S, classify, frames_of, is_problem, send, until
from tests.exposition import samples
from thinwire.v1 import control_pb2, control_pb2_grpc

pytestmark = pytest.mark.timeout(300)
SMALL = {"budget": {"channel_uses": 4}}


def _late(testbed: LocalTestbed, timeout_ms: float, **parameters: object) -> str:
    """Id of a request that ran out of time, and said so on time."""
    request_id = secrets.token_hex(16)
    started = time.monotonic()
    response = classify(testbed.edge_url, request_id, timeout_ms=timeout_ms, **parameters)
    elapsed_ms = 1e3 * (time.monotonic() - started)
    assert is_problem(response, 504, "deadline_exceeded")
    # It may be late on a loaded machine, but is not the 30 s or the airtime that something else takes.
    assert timeout_ms * 0.9 <= elapsed_ms < timeout_ms + 20_000
    return request_id


@contextlib.contextmanager
def _slower(testbed: LocalTestbed) -> Iterator[None]:
    """One use a second during the block, and the testbed's own rate after it."""
    with grpc.insecure_channel(f"{HOST}:{testbed.ports.channel_grpc}") as channel:
        control = control_pb2_grpc.ChannelControlStub(channel)
        own = control.GetProfile(control_pb2.GetProfileRequest(), wait_for_ready=True)
        slow = control_pb2.Profile()
        slow.CopyFrom(own)
        slow.symbol_rate_hz = 1.0
        control.SetProfile(control_pb2.SetProfileRequest(profile=slow))
        try:
            yield
        finally:
            control.SetProfile(control_pb2.SetProfileRequest(profile=own))


def _in_the_air(testbed: LocalTestbed) -> float:
    metrics = httpx.get(f"http://{HOST}:{testbed.ports.channel_metrics}/metrics", timeout=PATIENCE_S).text
    return samples(metrics)["thinwire_frames_in_flight"]


def _frames(testbed: LocalTestbed) -> list[str]:
    return [line["request_id"] for line in frames_of(testbed, "cloud")]


def _answered(testbed: LocalTestbed) -> list[str]:
    return [line["request_id"] for line in frames_of(testbed, "cloud") if "error" not in line]


def test_a_frame_whose_time_runs_out_in_the_air_never_reaches_the_cloud(slow_testbed):
    with _slower(slow_testbed):
        # The 192 uses of an unmerged frame would take 192 s.
        late = _late(slow_testbed, 1500, policy="none")
    # It has left the channel, not to come back, and it holds nothing up.
    until(lambda: _in_the_air(slow_testbed) == 0)
    answer = classify(slow_testbed.edge_url, **SMALL)
    assert answer.status_code == 200
    until(lambda: _frames(slow_testbed)[-1:] == [answer.json()["id"]])
    assert late not in _frames(slow_testbed)
    metrics = httpx.get(f"{slow_testbed.edge_url}/metrics", timeout=PATIENCE_S).text
    assert 'thinwire_requests_total{outcome="deadline_exceeded",service="edge"}' in metrics


def test_a_cloud_that_says_nothing_is_504_and_holds_nothing_up_later(slow_testbed):
    send(slow_testbed, "cloud", signal.SIGSTOP)
    try:
        # What has reached its socket it may still compute: gRPC tells the time left, and it counts from when it reads.
        _late(slow_testbed, 1500, **SMALL)
    finally:
        send(slow_testbed, "cloud", signal.SIGCONT)
    slow_testbed.wait_ready()
    answer = classify(slow_testbed.edge_url, **SMALL)
    assert answer.status_code == 200
    # A line may be written a moment after its answer.
    until(lambda: _answered(slow_testbed)[-1:] == [answer.json()["id"]])
    assert (
        'thinwire_queue_length{kind="frame"} 0.0'
        in httpx.get(f"{slow_testbed.cloud_url}/metrics", timeout=PATIENCE_S).text
    )
