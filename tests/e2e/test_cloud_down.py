"""A cloud that is not there, or dies: the edge says so in time, and finds it again by itself."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from deploy.ports import Ports
from deploy.testbed import LocalTestbed
from tests.e2e.peers import PATIENCE_S, classify, health, is_problem, kill, send, until


def _is_unavailable(testbed: LocalTestbed) -> bool:
    started = time.monotonic()
    response = classify(testbed.edge_url, timeout_ms=1e3 * PATIENCE_S)
    # Far below the request's own time: nothing was waited out.
    assert time.monotonic() - started < PATIENCE_S / 2
    assert int(response.headers["retry-after"]) > 0
    assert health(testbed.edge_url, "live") == 200
    return is_problem(response, 503, "unavailable")


@pytest.mark.timeout(600)
def test_the_edge_says_so_and_finds_the_cloud_by_itself(shipped, tmp_path):
    with LocalTestbed([shipped.name], Ports.free(), log_folder=tmp_path, processes=()) as testbed:
        # Down from the start.
        testbed.start("channel")
        testbed.start("edge")
        until(lambda: health(testbed.edge_url, "live") == 200)
        assert health(testbed.edge_url, "ready") == 503
        assert _is_unavailable(testbed)
        testbed.start("cloud")
        until(lambda: health(testbed.edge_url, "ready") == 200)
        assert classify(testbed.edge_url).status_code == 200

        # Dead during a request: stopped first, it takes the frame and says nothing.
        send(testbed, "cloud", signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            request = pool.submit(classify, testbed.edge_url)
            until(lambda: health(testbed.edge_url, "ready") == 503)
            assert not request.done()
            kill(testbed, "cloud")
            assert is_problem(request.result(PATIENCE_S), 503, "unavailable")
        assert _is_unavailable(testbed)
        assert health(testbed.edge_url, "ready") == 503
        testbed.start("cloud")
        until(lambda: health(testbed.edge_url, "ready") == 200)
        assert [classify(testbed.edge_url).status_code for _ in range(3)] == [200] * 3
