"""Requests of every form, and an application that answers with what it has read of them."""

import base64

import httpx
from fastapi import FastAPI, Request

from thinwire.rest import problems
from thinwire.rest.parsing import parse_classify

IMAGE = bytes(range(256)) * 3
JSON = {"content-type": "application/json"}
PNG = {"content-type": "image/png"}
FORM = {"content-type": "multipart/form-data; boundary=b"}


def make_app():
    app = FastAPI()
    problems.install(app)

    @app.post("/")
    async def echo(request: Request):
        data, parameters = await parse_classify(request)
        return {"image": base64.b64encode(data).decode(), "parameters": parameters.model_dump()}

    return app


def connect():
    # An exception that no handler answers fails the test.
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_app()), base_url="http://test")


def as_json(data=IMAGE, **parameters):
    return {"inputs": base64.b64encode(data).decode(), "parameters": parameters}


def part(name, data, *options):
    if isinstance(data, str):
        data = data.encode()
    disposition = "; ".join((f'Content-Disposition: form-data; name="{name}"', *options))
    return b"--b\r\n" + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"


def form(*parts):
    return b"".join(parts) + b"--b--\r\n"


FILE = part("image", IMAGE, 'filename="x"')


def check_problem(response, status, error):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.keys() == {"type", "title", "status", "detail", "error"}
    assert (body["status"], body["error"]) == (status, error)
    assert len(body["detail"]) < 2000
    return body["detail"]


def check_echo(response, **parameters):
    assert response.status_code == 200, response.text
    body = response.json()
    assert base64.b64decode(body["image"]) == IMAGE
    assert {name: body["parameters"][name] for name in parameters} == parameters
