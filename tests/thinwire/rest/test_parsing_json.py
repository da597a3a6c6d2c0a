"""Bodies of JSON: what they may hold, and the problem that each mistake gets."""

import base64
import json

import pytest

from tests.thinwire.rest.requests import FORM, IMAGE, JSON, as_json, check_echo, check_problem, form, part


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"inputs": "\xff"}',
        b'{"inputs": "\\ud800"}',
        b'{"inputs": 3}',
        b'{"inputs": null}',
        b'{"inputs": ["aa"]}',
        b'{"parameters": {}}',
        b'{"inputs": "", "parameters": null}',
        b'{"inputs": "", "parameters": []}',
        b'{"inputs": "", "parameters": {"topk": 1}}',
        b'{"inputs": "", "parameters": {"budget": {"uses": 1}}}',
        b'{"inputs": "", "parameters": {"channel": {"snr": 1}}}',
        b'{"inputs": "", "surprise": 1}',
        b'{"inputs": "", "parameters": {"timeout_ms": NaN}}',
        b'{"inputs": "", "parameters": {"channel": {"snr_db": Infinity}}}',
        b'{"inputs": "", "parameters": {"budget": {"bandwidth_hz": 1e999}}}',
        b'{"inputs": "", "parameters": {"top_k": ' + b"9" * 5000 + b"}}",
        b'{"inputs": "", "parameters": ' + b'{"budget": ' * 50_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
async def test_malformed_json(client, body):
    check_problem(await client.post("/", content=body, headers=JSON), 422, "invalid_request")


@pytest.mark.parametrize("inputs", ["a", "é", "data:image/png;base64,*"])
async def test_malformed_base64(client, inputs):
    assert "base64" in check_problem(await client.post("/", json={"inputs": inputs}), 422, "invalid_image")


async def test_base64_and_data_urls_as_clients_write_them(client):
    text = base64.b64encode(IMAGE).decode()
    for inputs in (base64.encodebytes(IMAGE).decode(), text + "\n", f"data:image/png;base64,{text}"):
        check_echo(await client.post("/", json={"inputs": inputs}))
    check_echo(await client.post("/", content=form(part("image", f"DATA:image/png;base64,{text}")), headers=FORM))


async def test_an_integer_may_have_a_fraction_of_zero(client):
    body = '{"inputs": %s, "parameters": {"top_k": 2.0, "budget": {"channel_uses": 38.0}, "channel": {"seed": 1e3}}}'
    image = json.dumps(base64.b64encode(IMAGE).decode())
    response = await client.post("/", content=body % image, headers=JSON)
    check_echo(response, top_k=2)
    parameters = response.json()["parameters"]
    assert (parameters["budget"]["channel_uses"], parameters["channel"]["seed"]) == (38, 1000)
    refused = await client.post("/", json=as_json(top_k=2.5))
    assert check_problem(refused, 422, "invalid_request").endswith(", got 2.5")


WRONG = {
    '{"inputs": 3}': "inputs: Input should be a valid string, got 3",
    '{"inputs": "", "parameters": {"top_k": 0}}': (
        "parameters.top_k: Input should be greater than or equal to 1, got 0"
    ),
    '{"inputs": "", "parameters": {"top_k": true}}': "parameters.top_k: Input should be a valid integer, got true",
    '{"inputs": "", "parameters": {"topk": "犬"}}': 'parameters.topk: Extra inputs are not permitted, got "犬"',
    '{"parameters": {"top_k": 1}}': "inputs: Field required",
    "[]": "Input should be an object, got []",
}


@pytest.mark.parametrize("body", WRONG)
async def test_what_was_wrong_is_shown(client, body):
    response = await client.post("/", content=body, headers=JSON)
    assert check_problem(response, 422, "invalid_request") == WRONG[body]


@pytest.mark.parametrize("inputs", [{"image": "犬" * 10**6}, ["a" * 10**6], [[["a"] * 10**6]]])
async def test_an_image_is_not_shown_whole(client, inputs):
    detail = check_problem(await client.post("/", json={"inputs": inputs}), 422, "invalid_request")
    text = json.dumps(inputs, ensure_ascii=False)[:80]
    assert detail == f"inputs: Input should be a valid string, got {text}"


async def test_a_million_mistakes_get_a_short_answer(client):
    parameters = {f"unknown{number}" + "x" * 1000: 1 for number in range(500)}
    detail = check_problem(await client.post("/", json=as_json(**parameters)), 422, "invalid_request")
    assert "unknown0" in detail
    assert "490 more" in detail
