"""The three forms of a request through a real application: what works, in a body, a form and a query."""

import base64
import json

import pytest

from tests.thinwire.rest.requests import FILE, FORM, IMAGE, JSON, PNG, as_json, check_echo, check_problem, form, part


async def test_three_forms_are_one(client):
    text = json.dumps({"top_k": 3, "budget": {"channel_uses": 8}})
    responses = [
        await client.post("/", json=as_json(top_k=3, budget={"channel_uses": 8})),
        await client.post("/", files={"image": ("x.png", IMAGE, "image/png")}, data={"parameters": text}),
        await client.post("/", content=form(FILE, part("parameters", text)), headers=FORM),
        await client.post("/", content=form(part("parameters", text), FILE), headers=FORM),
        await client.post("/", content=IMAGE, headers=PNG, params={"parameters": text}),
    ]
    for response in responses:
        check_echo(response, top_k=3)
        assert response.json() == responses[0].json()


async def test_parameters_may_be_left_out(client):
    check_echo(await client.post("/", json={"inputs": base64.b64encode(IMAGE).decode()}), top_k=5, policy="auto")
    check_echo(await client.post("/", files={"image": IMAGE}), top_k=5, policy="auto")
    check_echo(await client.post("/", content=IMAGE, headers=PNG), top_k=5, policy="auto")


@pytest.mark.parametrize(
    "media_type", ["image/jpeg", "IMAGE/PNG", "image/webp; q=1", "image/anything", "application/octet-stream"]
)
async def test_raw_media_types(client, media_type):
    check_echo(await client.post("/", content=IMAGE, headers={"content-type": media_type}))


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json; charset=ISO-8859-1",
        "application/json; charset=nonsense",
        "Application/JSON",
        " application/json ;",
        "text/json",
        "application/vnd.api+json",
        "application/problem+json; charset=utf-8",
    ],
)
async def test_json_media_types(client, media_type):
    body = json.dumps(as_json())
    check_echo(await client.post("/", content=body, headers={"content-type": media_type}))


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "imagery/png", "é", "application/jsonp", "a+json"],
)
async def test_other_media_types(client, media_type):
    headers = {} if media_type is None else {"content-type": media_type.encode()}
    detail = check_problem(await client.post("/", content=IMAGE, headers=headers), 422, "invalid_request")
    assert "expected application/json, multipart/form-data or image/*" in detail


async def test_a_byte_order_mark_is_nothing(client):
    mark, parameters = b"\xef\xbb\xbf", b'{"top_k": 2}'
    check_echo(await client.post("/", content=mark + json.dumps(as_json(top_k=2)).encode(), headers=JSON), top_k=2)
    check_echo(await client.post("/", content=form(FILE, part("parameters", mark + parameters)), headers=FORM), top_k=2)


async def test_an_empty_field_is_left_out(client):
    for text in ("", " \r\n", b"\xef\xbb\xbf"):
        check_echo(await client.post("/", content=form(FILE, part("parameters", text)), headers=FORM), top_k=5)
    blob = part("parameters", "", 'filename="blob"')
    check_echo(await client.post("/", content=form(FILE, blob), headers=FORM), top_k=5)
    for text in ("", " "):
        check_echo(await client.post("/", content=IMAGE, headers=PNG, params={"parameters": text}), top_k=5)


async def test_queries_that_nothing_reads_are_refused(client):
    requests = [
        {"content": IMAGE, "headers": PNG, "params": {"top_k": "3"}},
        {"content": IMAGE, "headers": PNG, "params": {"parameter": "{}"}},
        {"content": IMAGE, "headers": PNG, "params": [("parameters", "{}"), ("parameters", "{}")]},
        {"json": as_json(), "params": {"parameters": "{}"}},
        {"json": as_json(), "params": {"top_k": "3"}},
        {"files": {"image": IMAGE}, "params": {"parameters": "{}"}},
    ]
    for request in requests:
        assert "query" in check_problem(await client.post("/", **request), 422, "invalid_request")


MALFORMED = [
    "{",
    "[]",
    "null",
    "3",
    '"auto"',
    "top_k=3",
    '{"topk": 3}',
    '{"top_k": NaN}',
    '{"timeout_ms": Infinity}',
    '{"channel": {"snr_db": NaN}}',
    '{"policy": "\\ud800"}',
    '{"\\ud800": 1}',
    '{"top_k": ' + "9" * 5000 + "}",
    "[" * 20_000,
    '{"budget": ' * 20_000,
]


@pytest.mark.parametrize("text", MALFORMED)
async def test_malformed_parameters(client, text):
    in_form = await client.post("/", content=form(FILE, part("parameters", text)), headers=FORM)
    assert "parameters" in check_problem(in_form, 422, "invalid_request")
    if len(text) < 20_000:
        in_query = await client.post("/", content=IMAGE, headers=PNG, params={"parameters": text})
        assert check_problem(in_query, 422, "invalid_request") == in_form.json()["detail"]
