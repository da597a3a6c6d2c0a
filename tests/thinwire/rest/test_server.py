"""The HTTP server's own part: its socket, idle connections, and what pages of other origins may do."""

import asyncio
import contextlib
import socket

import httpx
import pytest
from fastapi import FastAPI

from thinwire.errors import UnavailableError
from thinwire.rest import problems
from thinwire.rest.server import HttpServer, _listen


def test_answers_do_not_wait_for_acknowledgements():
    (listener,) = _listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_cannot_be_is_told(port):
    with pytest.raises(UnavailableError, match="ports are 0 to 65535"):
        _listen("127.0.0.1", port)


def test_a_port_that_is_taken_is_told():
    (listener,) = _listen("127.0.0.1", 0)
    with listener, pytest.raises(UnavailableError, match="cannot listen on"):
        _listen("127.0.0.1", listener.getsockname()[1])


PAGE = "https://page.example"


@contextlib.asynccontextmanager
async def serving(**options):
    """A client of an application whose answers succeed, are refused, and fail."""
    app = FastAPI()
    problems.install(app)

    @app.post("/ask")
    async def ask(how: str = "well") -> str:
        if how == "unavailable":
            raise UnavailableError("not now")
        if how == "badly":
            raise RuntimeError("a bug")
        return how

    server = HttpServer(app, "127.0.0.1", 0, 5, **options)
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield client
    finally:
        await server.stop()


def cors(response):
    return {name for name in response.headers if name.startswith("access-control-")}


async def test_pages_of_other_origins_are_told_nothing_by_default():
    async with serving() as client:
        answer = await client.post("/ask", headers={"origin": PAGE})
        assert (answer.status_code, cors(answer)) == (200, set())
        asked = await client.options("/ask", headers={"origin": PAGE, "access-control-request-method": "POST"})
        assert (asked.status_code, cors(asked)) == (405, set())


async def test_pages_of_a_named_origin_may_ask_and_read_failures_too():
    wanted = "authorization, content-type, idempotency-key, traceparent, x-request-id"
    asks = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": wanted}
    async with serving(cors_origins=[PAGE]) as client:
        asked = await client.options("/ask", headers=asks)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == PAGE
        assert asked.headers["access-control-allow-headers"] == wanted
        assert "POST" in asked.headers["access-control-allow-methods"].split(", ")
        for how, status in (("well", 200), ("unavailable", 503), ("badly", 500)):
            answer = await client.post("/ask", params={"how": how}, headers={"origin": PAGE})
            assert answer.status_code == status
            assert answer.headers["access-control-allow-origin"] == PAGE
            # All, since no credentials are allowed: x-request-id and retry-after, for two.
            assert answer.headers["access-control-expose-headers"] == "*"
            assert "access-control-allow-credentials" not in answer.headers
            assert answer.headers["vary"] == "Origin"
        missing = await client.get("/none", headers={"origin": PAGE})
        assert (missing.status_code, missing.headers["access-control-allow-origin"]) == (404, PAGE)


async def test_other_origins_are_refused_beside_a_named_one():
    other = {"origin": "https://other.example", "access-control-request-method": "POST"}
    async with serving(cors_origins=[PAGE]) as client:
        assert (await client.options("/ask", headers=other)).status_code == 400
        answer = await client.post("/ask", headers=other)
        assert answer.status_code == 200
        assert "access-control-allow-origin" not in answer.headers


async def test_every_origin():
    async with serving(cors_origins=["*"]) as client:
        answer = await client.post("/ask", headers={"origin": PAGE})
        assert answer.headers["access-control-allow-origin"] == "*"


async def test_an_idle_connection_is_closed_in_time():
    async with serving(keep_alive_s=1) as client:
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        writer.write(b"POST /ask HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n")
        # Ends where the server does so.
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await writer.wait_closed()


def test_load_balancers_close_idle_connections_first():
    server = HttpServer(FastAPI(), "127.0.0.1", 0, 5)
    assert server._server.config.timeout_keep_alive == 75
