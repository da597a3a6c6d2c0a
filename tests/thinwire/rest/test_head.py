"""HEAD wherever GET is, with what GET would say and without its body."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Response
from starlette.responses import StreamingResponse

from thinwire.errors import UnknownPolicyError
from thinwire.rest import problems
from thinwire.rest.head import HeadAsGet

app = FastAPI()
app.add_middleware(HeadAsGet)
problems.install(app)


@app.get("/read/{name}")
async def read(name: str, response: Response) -> dict[str, str]:
    if name == "none":
        raise UnknownPolicyError("no such policy")
    response.headers["x-name"] = name
    return {"name": name}


@app.get("/stream")
async def stream() -> StreamingResponse:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    return StreamingResponse(pieces())


@app.post("/write")
async def write() -> None:
    return None


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as http:
        yield http


@pytest.mark.parametrize("path", ["/read/a", "/read/none", "/read", "/stream", "/openapi.json", "/write"])
async def test_head_says_what_get_says(http: httpx.AsyncClient, path: str) -> None:
    got, asked = await http.get(path), await http.head(path)
    assert got.content
    assert (asked.status_code, asked.headers, asked.content) == (got.status_code, got.headers, b"")


@pytest.mark.parametrize(("method", "path", "allowed"), [("POST", "/read/a", "GET, HEAD"), ("HEAD", "/write", "POST")])
async def test_a_refusal_names_the_methods(http: httpx.AsyncClient, method: str, path: str, allowed: str) -> None:
    refused = await http.request(method, path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


async def test_the_document_has_no_operation_for_it(http: httpx.AsyncClient) -> None:
    paths = (await http.get("/openapi.json")).json()["paths"]
    assert [*paths["/read/{name}"]] == ["get"]
