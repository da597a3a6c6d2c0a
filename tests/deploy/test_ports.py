"""The ports of `thinwire up`: chosen, checked before anything starts, and told."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, closing
from itertools import pairwise

import httpx
import pytest

from deploy import healthcheck, testbed
from deploy.cli.main import main
from deploy.ports import HOST, OPTIONS, Ports
from thinwire.errors import InvalidRequestError, UnavailableError

NAMES = list(OPTIONS)
DEFAULTS = {
    **{"--port": 8080, "--edge-grpc-port": 8081, "--cloud-port": 8000, "--cloud-grpc-port": 50051},
    **{"--link-port": 50061, "--metrics-port": 8061},
}
UP = [sys.executable, "-m", "deploy.cli.main", "up"]


@pytest.fixture(name="started")
def started_fixture(monkeypatch):
    """The ports with which `thinwire up` would have started processes."""
    started = []

    class Testbed:
        def __init__(self, bundles, ports, *_, **__):
            started.append(ports)

        def __enter__(self):
            raise KeyboardInterrupt

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(testbed, "LocalTestbed", Testbed)
    return started


def listening():
    return socket.create_server((HOST, 0))


def port_of(listener):
    return listener.getsockname()[1]


def test_the_defaults_are_those_of_the_contract():
    assert {option: getattr(Ports(), name) for name, (option, _) in OPTIONS.items()} == DEFAULTS


def test_what_is_given_stays_and_what_is_0_becomes_free():
    given = Ports.free()
    assert given.settled() == given
    kept = {name: getattr(given, name) for name in NAMES[::2]}
    some = Ports(**(dict.fromkeys(NAMES, 0) | kept)).settled()
    assert vars(some).items() >= kept.items()
    assert len(set(vars(some).values())) == 6
    assert 0 not in vars(some).values()


def test_a_free_port_is_kept_from_those_who_ask_for_any_and_left_to_those_who_ask_for_it():
    for port in vars(Ports.free()).values():
        # What a socket gets that asks for any is what it could have bound by itself.
        with closing(socket.socket()) as other, pytest.raises(OSError) as caught:  # noqa: PT011
            other.bind((HOST, port))
        assert caught.value.errno == errno.EADDRINUSE
        socket.create_server((HOST, port)).close()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("port", [-1, 65536, 10**9])
def test_what_is_no_port_is_refused(name, port):
    option = OPTIONS[name][0]
    with pytest.raises(InvalidRequestError, match=f"^{option} must be from 0 to 65535, got {port}$"):
        Ports(**{name: port}).settled()


def test_two_cannot_have_the_same():
    for first, second in pairwise(NAMES):
        said = f"^{OPTIONS[first][0]} and {OPTIONS[second][0]} must differ, got 4000 for both$"
        with pytest.raises(InvalidRequestError, match=said):
            Ports(**(dict.fromkeys(NAMES, 0) | {first: 4000, second: 4000})).settled()


@pytest.mark.parametrize("name", NAMES)
def test_a_taken_port_is_told_with_who_wanted_it(name):
    option, who = OPTIONS[name]
    with listening() as taken:
        port = port_of(taken)
        ports = Ports(**(dict.fromkeys(NAMES, 0) | {name: port}))
        said = rf"^{who} cannot listen on 127.0.0.1:{port} \({option}\): .*in use$"
        with pytest.raises(UnavailableError, match=said):
            ports.settled()
    assert getattr(ports.settled(), name) == port


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000"),
        (["--port", "0", "--link-port", "-1"], "--link-port must be from 0 to 65535, got -1"),
        (["--port", "4000", "--metrics-port", "4000"], "--port and --metrics-port must differ, got 4000 for both"),
        # One that is given and one that is not.
        (["--port", "8000"], "--port and --cloud-port must differ, got 8000 for both"),
    ],
)
def test_bad_ports_are_one_line_before_anything_starts(capsys, started, arguments, said):
    assert main(["up", *arguments]) == 1
    assert capsys.readouterr() == ("", f"thinwire: invalid_request: {said}\n")
    assert started == []


def test_a_taken_port_is_one_line_before_anything_starts(capsys, started):
    with listening() as taken:
        assert main(["up", "--port", "0", "--cloud-port", str(port_of(taken))]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        (line,) = told.err.splitlines()
        assert line.startswith(
            f"thinwire: unavailable: the cloud's REST cannot listen on 127.0.0.1:{port_of(taken)} (--cloud-port): "
        )
    assert started == []


def test_port_0_alone_frees_all_that_are_not_given(started, tiny_bundle):
    free = Ports.free()
    assert (
        main(["up", "--bundle", str(tiny_bundle.folder), "--port", "0", "--link-port", str(free.channel_grpc)]) == 130
    )
    (ports,) = started
    assert ports.channel_grpc == free.channel_grpc
    assert not set(vars(ports).values()) & {0, *DEFAULTS.values()}


def test_another_port_of_0_frees_itself_alone(started, tiny_bundle):
    free = vars(Ports.free()) | {"cloud_rest": 0}
    arguments = [text for name, port in free.items() for text in (OPTIONS[name][0], str(port))]
    assert main(["up", "--bundle", str(tiny_bundle.folder), *arguments]) == 130
    (ports,) = started
    assert ports.cloud_rest > 0
    assert vars(ports) | {"cloud_rest": 0} == free


def test_up_tells_its_ports_in_one_line_of_json_and_all_else_on_standard_error(monkeypatch):
    # Spans go to a process's standard output.
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "console")
    metrics = Ports.free().channel_metrics
    # The one that starts without torch.
    command = [*UP, "--bundle", "cifar10", "--port", "0", "--metrics-port", str(metrics)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())
            assert list(told) == ["edge", "cloud", "link", "cloud_grpc", "metrics"]
            assert told["metrics"] == f"http://127.0.0.1:{metrics}"
            for target in (
                *(f"{told['edge']}/health/ready", f"{told['cloud']}/health/ready", f"{told['metrics']}/metrics"),
                *(f"{told['link']}/thinwire.v1.SemanticLink", f"{told['cloud_grpc']}/thinwire.v1.SemanticLink"),
            ):
                assert healthcheck.trouble(target) is None
            body = {"inputs": "aGVsbG8="}
            assert httpx.post(f"{told['edge']}/v1/classify", json=body, timeout=60).status_code == 422
        finally:
            process.send_signal(signal.SIGTERM)
            rest, log = process.communicate(timeout=60)
    assert rest == ""
    assert f"edge  {told['edge']}" in log
    spans = [json.loads(line) for line in log.splitlines() if line.startswith('{"name"')]
    assert "request" in [span["name"] for span in spans]


CODE = """
import sys
import deploy.testbed
from deploy.cli.main import main

class Testbed(deploy.testbed.LocalTestbed):
    def start(self, name): pass
    def wait_ready(self): pass
    def check(self):
        print("still there", file=sys.stderr)
        raise KeyboardInterrupt

deploy.testbed.LocalTestbed = Testbed
sys.exit(main(["up", "--port", "0", "--bundle", sys.argv[1]]))
"""


@pytest.mark.parametrize("reader", ["gone", "none", "full"])
def test_up_goes_on_where_nobody_reads_its_line(tiny_bundle, reader):
    command = [sys.executable, "-c", CODE, str(tiny_bundle.folder)]
    with ExitStack() as stack:
        if reader == "gone":
            ours, theirs = os.pipe()
            os.close(ours)
            stack.callback(os.close, theirs)
        elif reader == "full":
            if not os.path.exists("/dev/full"):
                pytest.skip("this machine has no /dev/full")
            theirs = stack.enter_context(open("/dev/full", "w"))
        else:
            command, theirs = ["sh", "-c", 'exec "$@" >&-', "sh", *command], None
        done = subprocess.run(command, stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 130, done.stderr
    first, second, *more = done.stderr.splitlines()
    assert (first.split()[0], second.split()[0], more) == ("edge", "cloud", ["still there"])
