"""The closed containers' commands and health checks, run as processes of this machine: no engine is needed."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import grpc
import pytest
import yaml

from deploy.ports import Ports
from tests.access import LINES, TOKENS
from tests.certificates import Authority
from tests.parts import random_pixels
from thinwire import Client
from thinwire.errors import UnauthenticatedError
from thinwire.images import to_png

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def access(tmp_path_factory):
    """What docs/operations.md has made."""
    folder = tmp_path_factory.mktemp("access")
    Authority(folder).pair("server", "edge", "channel", "cloud", "localhost", "127.0.0.1")
    (folder / "tokens").write_text(LINES)
    return folder


@pytest.fixture(scope="module")
def ports():
    return Ports.free()


@pytest.fixture(scope="module")
def service(access, ports):
    """Command, health check and environment of a service, with this machine's addresses."""
    settings = yaml.safe_load((ROOT / "deploy" / "docker" / "closed.yml").read_text())["services"]
    here = {
        "/access/": f"{access}/",
        "0.0.0.0": "127.0.0.1",
        "cloud:": "127.0.0.1:",
        "channel:": "127.0.0.1:",
        "50051": str(ports.cloud_grpc),
        "50061": str(ports.channel_grpc),
        "8000": str(ports.cloud_rest),
        "8061": str(ports.channel_metrics),
        "8080": str(ports.edge_rest),
        "8081": str(ports.edge_grpc),
    }

    def local(word):
        word = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word)
        return re.sub("|".join(map(re.escape, here)), lambda found: here[found[0]], word)

    def found(name):
        one = settings[name]
        command = [sys.executable, "-m", "deploy.cli.main", name, "serve", *map(local, one["command"])]
        check = [sys.executable, *map(local, one["healthcheck"]["test"][2:])]
        return command + ([] if name == "channel" else ["--bundle", "cifar10"]), check, "environment" in one

    return found


@pytest.fixture(scope="module")
def running(service, tmp_path_factory):
    logs, processes = tmp_path_factory.mktemp("logs"), []
    try:
        for name in ("cloud", "channel", "edge"):
            command, check, has_token = service(name)
            environment = os.environ | {"THINWIRE_TOKEN": TOKENS["edge"] if has_token else ""}
            with (logs / name).open("wb") as log:
                processes.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log))
            ends = time.monotonic() + 120
            while subprocess.run(check, cwd=ROOT, capture_output=True, check=False).returncode:
                assert processes[-1].poll() is None, (logs / name).read_text()
                assert time.monotonic() < ends, (logs / name).read_text()
        yield logs
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(60)


def test_the_path_answers_with_a_token_over_mutual_tls(running, access, ports):
    url, cloud = f"https://localhost:{ports.edge_rest}", f"https://localhost:{ports.cloud_rest}"
    picture, ca = to_png(random_pixels(1)[0]), access / "ca.pem"
    with Client(url, token=TOKENS["alice"], ca=ca) as client:
        assert client.classify(picture).link.channel_uses > 0
    with Client(url, token="", ca=ca) as client, pytest.raises(UnauthenticatedError):
        client.classify(picture)
    pair = {"client_cert": access / "server.pem", "client_key": access / "server.key"}
    with Client(cloud, token=TOKENS["alice"], ca=ca, **pair) as client:
        assert client.classify(picture).link is None
    told = "".join(path.read_text() for path in running.iterdir())
    assert "other machines reach" not in told


def test_the_link_wants_a_certificate(running, access, ports):
    for port in (ports.channel_grpc, ports.cloud_grpc):
        credentials = grpc.ssl_channel_credentials((access / "ca.pem").read_bytes())
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel, pytest.raises(grpc.FutureTimeoutError):
            grpc.channel_ready_future(channel).result(timeout=2)
