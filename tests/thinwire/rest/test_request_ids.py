"""Every response names its request, as its caller did; and so does every line of the log."""

import asyncio
import logging
import re

import httpx
import pytest
from fastapi import Request

from tests.json_logs import json_lines
from thinwire.errors import UnavailableError
from thinwire.rest import problems
from thinwire.rest.events import EventStream, event
from thinwire.rest.request_ids import Application
from thinwire.rest.server import HttpServer
from thinwire.rest.waiting import while_connected

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
    finally:
        await server.stop()
