"""How large a body may be, in each of its forms, and that no more of it is read."""

import base64
from collections.abc import AsyncIterator

import pytest

from tests.thinwire.rest.requests import FILE, FORM, JSON, PNG, check_problem
from thinwire.images import MAX_BYTES
from thinwire.rest.parsing import MAX_BODY_BYTES


def batched(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


FORMS_OF_A_REQUEST = [JSON, PNG, FORM]


@pytest.mark.parametrize("headers", FORMS_OF_A_REQUEST)
async def test_a_body_that_declares_too_much_is_not_read(client, headers):
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    headers = headers | {"content-length": str(MAX_BODY_BYTES + 1)}
    response = await client.post("/", content=never(), headers=headers)
    assert str(MAX_BODY_BYTES) in check_problem(response, 413, "payload_too_large")


@pytest.mark.parametrize("headers", FORMS_OF_A_REQUEST)
async def test_a_body_that_grows_too_much_is_not_read_to_its_end(client, headers):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        chunk = FILE[:-2] if headers is FORM else b'{"inputs": "'
        while sent < 4 * MAX_BODY_BYTES:
            yield chunk
            sent += len(chunk)
            chunk = b"a" * 2**20

    check_problem(await client.post("/", content=endless(), headers=headers), 413, "payload_too_large")
    assert sent <= MAX_BODY_BYTES + 2**20


async def test_the_largest_image_fits_in_every_form(client):
    image = b"\x01" * MAX_BYTES
    encoded = base64.b64encode(image).decode()
    responses = [
        await client.post("/", json={"inputs": encoded}),
        await client.post("/", json={"inputs": "\r\n".join(batched(encoded, 64))}),
        await client.post("/", files={"image": image}),
        await client.post("/", content=image, headers=PNG),
    ]
    for response in responses:
        assert response.status_code == 200
        assert response.json()["image"] == encoded


async def test_a_larger_image_is_left_to_the_decoder(client):
    response = await client.post("/", files={"image": b"\x01" * (MAX_BYTES + 1000)})
    assert len(base64.b64decode(response.json()["image"])) == MAX_BYTES + 1000
