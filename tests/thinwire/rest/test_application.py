"""What all applications do: name requests in answers and logs, take HEAD wherever GET is, and whole URLs."""

import asyncio
import logging
import re

import httpx
import pytest
from fastapi import Request, Response
from starlette.responses import StreamingResponse

from tests.json_logs import json_lines
from thinwire.errors import UnavailableError, UnknownPolicyError
from thinwire.rest import problems
from thinwire.rest.application import Application, while_connected
from thinwire.rest.events import EventStream, event
from thinwire.rest.server import HttpServer

UUID = "8e03978e-40d5-43dd-bc93-6c894a57f932"
log = logging.getLogger(__name__)


def make_app():
    app = Application()
    problems.install(app)

    @app.post("/work")
    async def work(request: Request):
        async def do():
            log.info("done")

        await while_connected(request, do())
        return {}

    @app.post("/events")
    async def events():
        async def source():
            yield event("a")
            log.info("streamed")
            yield event("b")

        it = source()
        return EventStream(await anext(it), it)

    @app.get("/unexpected")
    async def unexpected():
        raise KeyError("secret")

    @app.get("/gone")
    async def gone():
        raise UnavailableError("no link")

    return app


@pytest.fixture(name="client")
async def client_fixture():
    transport = httpx.ASGITransport(make_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


PATHS = {
    "answered": ("POST", "/work", 200),
    "a stream": ("POST", "/events", 200),
    "an error of ours": ("GET", "/gone", 503),
    "an unexpected error": ("GET", "/unexpected", 500),
    "no such route": ("GET", "/nowhere", 404),
    "no such method": ("GET", "/work", 405),
    "a page": ("GET", "/openapi.json", 200),
}


@pytest.mark.parametrize("name", PATHS)
async def test_every_response_has_it(client, name):
    method, path, status = PATHS[name]
    response = await client.request(method, path, headers={"X-Request-ID": UUID})
    assert (response.status_code, response.headers.get_list("x-request-id")) == (status, [UUID])
    made_up = [(await client.request(method, path)).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in made_up)
    assert made_up[0] != made_up[1]


@pytest.mark.parametrize(
    "given", ["0", "a" * 255, "Root=1-67891233-abc;Self=x", "a, b", '"<script>', "é€", "  trimmed "]
)
async def test_any_text_is_taken(client, given):
    response = await client.post("/work", headers={"x-request-id": given.encode()})
    assert response.headers.raw[-1] == (b"x-request-id", given.strip().encode())


@pytest.mark.parametrize(
    "given", [b"", b"  ", b"a" * 256, b"a\r\nset-cookie: b", b"a\nb", b"a\0b", b"a\x7fb", b"a\tb", b"\x1b[31m", b"a\r"]
)
async def test_what_is_no_text_is_replaced(client, given):
    response = await client.post("/work", headers={b"x-request-id": given})
    (answered,) = (value for name, value in response.headers.raw if name == b"x-request-id")
    assert re.fullmatch(b"[0-9a-f]{32}", answered)
    assert b"set-cookie" not in dict(response.headers.raw)


async def test_lines_of_the_log_have_it(client):
    with json_lines() as logged:
        for path in ("/work", "/events"):
            await client.post(path, headers={"x-request-id": UUID})
        for path in ("/gone", "/unexpected"):
            await client.get(path, headers={"x-request-id": "other"})
        log.info("between")
    said = {line["message"]: line.get("x_request_id") for line in logged()}
    assert said["done"] == said["streamed"] == UUID
    assert said["no link"] == said["unexpected error"] == "other"
    assert said["between"] is None


async def test_requests_side_by_side_do_not_mix(client):
    with json_lines() as logged:
        names = [f"request {number}" for number in range(20)]
        answers = await asyncio.gather(*(client.post("/events", headers={"x-request-id": name}) for name in names))
    assert [answer.headers["x-request-id"] for answer in answers] == names
    assert sorted(line["x_request_id"] for line in logged() if line["message"] == "streamed") == sorted(names)


async def test_over_a_socket():
    server = HttpServer(make_app(), "127.0.0.1", 0, 1.0)
    port = await server.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for given in (UUID, "é".encode(), b"\xff\x80"):
                response = await client.post("/work", headers={"x-request-id": given})
                raw = given if isinstance(given, bytes) else given.encode()
                assert [value for name, value in response.headers.raw if name.lower() == b"x-request-id"] == [raw]
                # A body behind the head would be taken for the next answer on the connection.
                asked = await client.head("/openapi.json")
                assert (asked.status_code, asked.content) == (200, b"")
                assert int(asked.headers["content-length"]) > 0
    finally:
        await server.stop()


async def test_a_client_may_ask_for_a_whole_url():
    app = Application()

    @app.get("/{path:path}")
    async def where(path: str, q: str = "") -> str:
        return f"/{path}?{q}"

    server = HttpServer(app, "127.0.0.1", 0, 5)
    proxy = f"http://127.0.0.1:{await server.start()}"
    try:
        async with httpx.AsyncClient(proxy=proxy) as client:
            for target in ("/health/live?", "/a%20b/http://c?d", "/?"):
                url = f"http://edge.example:8080{target}".replace("?d", "?q=d")
                assert (await client.get(url)).json() == target.replace("%20", " ")
            assert (await client.get("http://edge.example")).json() == "/?"
        async with httpx.AsyncClient(base_url=proxy) as client:
            assert (await client.get("/http://c")).json() == "/http://c?"
    finally:
        await server.stop()


def make_reading_app():
    app = Application()
    problems.install(app)

    @app.get("/read/{name}")
    async def read(name: str, response: Response):
        if name == "none":
            raise UnknownPolicyError("no such policy")
        response.headers["x-name"] = name
        return {"name": name}

    @app.get("/stream")
    async def stream():
        async def pieces():
            yield b"one"
            yield b"two"

        return StreamingResponse(pieces())

    @app.post("/write")
    async def write():
        return None

    return app


@pytest.fixture(name="reading")
async def reading_fixture():
    transport = httpx.ASGITransport(make_reading_app())
    named = {"x-request-id": UUID}
    async with httpx.AsyncClient(transport=transport, base_url="http://edge", headers=named) as client:
        yield client


@pytest.mark.parametrize("path", ["/read/a", "/read/none", "/read", "/stream", "/openapi.json", "/write"])
async def test_head_says_what_get_says(reading, path):
    got, asked = await reading.get(path), await reading.head(path)
    assert got.content
    assert (asked.status_code, asked.headers, asked.content) == (got.status_code, got.headers, b"")


@pytest.mark.parametrize(("method", "path", "allowed"), [("POST", "/read/a", "GET, HEAD"), ("HEAD", "/write", "POST")])
async def test_a_refusal_names_the_methods(reading, method, path, allowed):
    refused = await reading.request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


async def test_the_document_has_no_operation_for_it(reading):
    paths = (await reading.get("/openapi.json")).json()["paths"]
    assert [*paths["/read/{name}"]] == ["get"]
