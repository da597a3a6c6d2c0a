"""What the containers and the local testbed ask of a process."""

import asyncio
import socket
import threading

import pytest

from deploy import healthcheck
from tests.network import needs_ipv6
from thinwire.access import Gate
from thinwire.access.rpc import open_server
from thinwire.rest.application import Application
from thinwire.rest.server import HttpServer
from thinwire.rpc import Server


async def test_a_grpc_process_and_its_services_are_told_apart():
    server = Server(["some.Service"])
    target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        assert await asyncio.to_thread(healthcheck.trouble, target) is None
        assert await asyncio.to_thread(healthcheck.trouble, f"{target}/some.Service") is None
        await server.set_serving("some.Service", False)
        assert await asyncio.to_thread(healthcheck.trouble, target) is None
        assert "does not serve" in await asyncio.to_thread(healthcheck.trouble, f"{target}/some.Service")
        assert await asyncio.to_thread(healthcheck.trouble, f"{target}/other.Service")
    finally:
        await server.stop(0)


@pytest.mark.parametrize(
    "target",
    [
        *("127.0.0.1:9", "127.0.0.1:9/some.Service", "http://127.0.0.1:9/health/ready"),
        pytest.param("[::1]:9", marks=needs_ipv6),
        pytest.param("http://[::1]:9/health/ready", marks=needs_ipv6),
    ],
)
def test_nobody_there_is_told(capsys, target):
    assert healthcheck.main(target) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "onnect" in line


@pytest.mark.parametrize(
    "target", ["", "::1:50061", "http://::1:8080/health/ready", "http://[::1/health", "ftp://edge:8080", "edge"]
)
def test_what_is_no_address_is_told(capsys, target):
    assert healthcheck.main(target) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("the target must be HOST:PORT")


@pytest.mark.parametrize("answer", [b"-ERR unknown command\r\n", b"HTTP/x\r\n", b"x" * 100_000, b""])
def test_what_is_no_web_server_is_told(capsys, answer):
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert healthcheck.main(f"http://127.0.0.1:{listening.getsockname()[1]}/health/ready") == 1
        thread.join()
    assert len(capsys.readouterr().err.splitlines()) == 1


async def test_tls_is_spoken_where_it_is_asked_for(tmp_path):
    certificates = pytest.importorskip("tests.certificates")
    authority = certificates.Authority(tmp_path)
    client = authority.client(authority.pair("client"))
    server = open_server([], Gate(), authority.server(mutual=True))
    app = HttpServer(Application(), "127.0.0.1", 0, 1.0, tls=authority.server(mutual=True))
    rest = f"https://localhost:{await app.start()}/openapi.json"
    targets = f"127.0.0.1:{await server.start('127.0.0.1:0')}", rest
    options = [f"--{name}={path}" for name, path in zip(("ca", "client-cert", "client-key"), client.paths, strict=True)]
    try:
        for target in targets:
            assert await asyncio.to_thread(healthcheck.main, target, *options) == 0
            assert await asyncio.to_thread(healthcheck.main, target, options[0]) == 1
            assert await asyncio.to_thread(healthcheck.main, target) == 1
    finally:
        await app.stop()
        await server.stop(0)
