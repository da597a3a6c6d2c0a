"""A machine that reaches the web through a proxy: what runs on the machine itself is asked directly."""

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy import healthcheck
from deploy.cli.main import main
from deploy.pictures import Picture
from experiments.video.watching import watch
from thinwire.client import Client
from thinwire.client.messages import is_loopback
from thinwire.rpc import Server

ANSWER = {
    "id": "x",
    "outputs": [{"label": "cat", "answer": "cat", "score": 0.5}],
    "policy": None,
    "link": None,
    "cost": None,
    "timings_ms": {"edge": None, "channel": None, "cloud": 1.0, "total": 2.0},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.answer()

    def answer(self):
        self.server.asked.append(self.path)
        status, media_type, body = self.server.answer
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture(name="serve")
def serve_fixture():
    """Starts servers that answer whatever they are asked, as an edge and as a proxy alike."""
    running = []

    def serve():
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads, server.asked = True, []
        server.answer = 200, "application/json", json.dumps(ANSWER)
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return server

    yield serve
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(name="proxy", autouse=True)
def proxy_fixture(serve, monkeypatch):
    proxy = serve()
    for name in ("no_proxy", "NO_PROXY", "grpc_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", proxy.url)
    return proxy


def test_rest_is_asked_directly(capsys, tmp_path, serve, proxy):
    edge = serve()
    (tmp_path / "image.png").write_bytes(b"x")
    assert healthcheck.trouble(f"{edge.url}/health/ready") is None
    with Client(edge.url) as client:
        assert client.classify(b"x").label == "cat"
    assert main(["stream", str(tmp_path / "image.png"), "--url", edge.url]) == 0
    assert watch(edge.url, iter([Picture("x", "image/png", b"x")]), 7)[0].answer.label == "cat"
    assert [path.partition("?")[0] for path in edge.asked] == ["/health/ready", *["/v1/classify"] * 3]
    assert proxy.asked == []


def test_a_base_may_end_with_a_slash(tmp_path, serve):
    edge, cloud = serve(), serve()
    image = str(tmp_path / "image.png")
    (tmp_path / "image.png").write_bytes(b"x")
    assert main(["classify", image, "--json", "--url", f"{edge.url}/"]) == 0
    assert main(["stream", image, "--url", f"{edge.url}/below//"]) == 0
    asked = ["a?", "b?", "--url", f"{edge.url}/", "--cloud-url", f"{cloud.url}/", "--json"]
    assert main(["vqa", image, *asked]) == 0
    paths = [path.partition("?")[0] for path in edge.asked]
    assert paths == ["/v1/classify", "/below/v1/classify", "/v1/vqa"]
    assert cloud.asked == ["/v1/frames/x/questions"]


@pytest.mark.parametrize(
    ("status", "media_type", "body"),
    [
        (404, "text/html", "<html>nothing here</html>"),
        (200, "text/html", "<html>welcome</html>"),
        (502, "text/html; charset=utf-8", ""),
        (404, "application/json", '{"detail": "Not Found"}'),
        (404, "application/problem+json", '{"error": "http_error", "detail": "Not Found"}'),
        (401, "application/json", '{"error": {"message": "who are you?"}}'),
        (200, "application/json", '{"status": "ok"}'),
        (200, "application/json", '["outputs"]'),
        (403, "application/json", "null"),
    ],
)
def test_what_is_no_answer_of_ours_is_told(capsys, tmp_path, serve, status, media_type, body):
    server = serve()
    server.answer = status, media_type, body
    (tmp_path / "image.png").write_bytes(b"x")
    assert main(["classify", str(tmp_path / "image.png"), "--url", server.url]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"unavailable: no answer from {server.url}/v1/classify: it is no address of an edge or a cloud: " in line
    assert f"HTTP {status} " in line
    assert line.endswith(f", {media_type}")


async def test_grpc_is_asked_directly(proxy):
    server = Server(())
    target = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        assert await asyncio.to_thread(healthcheck.trouble, target) is None
    finally:
        await server.stop(0)


def test_an_edge_elsewhere_is_asked_through_the_proxy(proxy):
    with Client("http://edge.invalid") as client:
        assert client.classify(b"x").label == "cat"
    assert proxy.asked == ["http://edge.invalid/v1/classify"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost/v1", True),
        ("http://[::1]:8080", True),
        ("http://10.0.0.1:8080", False),
        ("http://edge:8080", False),
        ("http://[::1", False),
        ("127.0.0.1", False),
    ],
)
def test_what_is_on_this_machine(url, expected):
    assert is_loopback(url) is expected
