"""Requests to the protocol's routes, and what comes back."""

import base64
from typing import Any

import httpx

from tests.thinwire.kserve.fakes import BLUE, GREEN, RED
from tests.thinwire.kserve.slow import decode, encode

URL = "/v2/models/colours/infer"
ASKING = "/v2/models/a/b/infer"
LENGTH = "inference-header-content-length"
IMAGES = {"image": ("BYTES", [RED, BLUE, GREEN])}


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return decode(response.content, response.headers.get(LENGTH))


def told(response: httpx.Response, status: int = 400) -> str:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    content = response.json()
    assert content.keys() == {"error"}
    assert len(content["error"]) < 2000
    text: str = content["error"]
    return text


def in_json(*images: bytes, **fields: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}], **fields}


async def send(http: httpx.AsyncClient, inputs: dict[str, Any], url: str = URL, **fields: Any) -> httpx.Response:
    content, headers = encode(inputs, **fields)
    return await http.post(url, content=content, headers=headers)
