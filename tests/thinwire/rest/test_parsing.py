"""The three forms of a request through a real application: what works, and the problem that each mistake gets."""

import base64
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from hypothesis import given, settings
from hypothesis import strategies as st

from thinwire.images import MAX_BYTES
from thinwire.rest import problems
from thinwire.rest.parsing import MAX_BODY_BYTES, parse_classify

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


@pytest.fixture(name="client")
async def client_fixture():
    async with connect() as client:
        yield client


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


def batched(text, size):
    return [text[at : at + size] for at in range(0, len(text), size)]


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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        form(),
        form(part("picture", IMAGE, 'filename="x"')),
        form(FILE, FILE),
        form(FILE, part("image", "again")),
        form(FILE, part("parameters", "{}"), part("parameters", "{}")),
        form(part("parameters", "{}")),
        form(FILE, part("parameters", b"\xff")),
        form(FILE, part("top_k", "3")),
        form(FILE, part("a", ""), part("b", ""), part("c", "")),
        form(FILE, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n"),
        form(FILE, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n"),
        form(FILE, b"--b\r\n: \r\n\r\nx\r\n"),
        FILE,
        FILE + part("parameters", '{"top_k": 2}'),
        form(FILE, part("parameters", '{"top_k": 2}'))[:-5],
        FILE[:-20],
        FILE.replace(b"--b", b"--c"),
        b"--b\r\n\xff\xff\r\n" + FILE,
        b"\0" * 1000,
    ],
)
async def test_malformed_forms(client, body):
    check_problem(await client.post("/", content=body, headers=FORM), 422, "invalid_request")


@pytest.mark.parametrize(
    "options", ["", "; boundary=", "; boundary=b; charset=nonsense", "; charset=utf-16; boundary=b"]
)
async def test_headers_of_a_form(client, options):
    body = form(FILE, part("parameters", '{"top_k": 2}'))
    response = await client.post("/", content=body, headers={"content-type": f"multipart/form-data{options}"})
    # A form has no charset of its own (RFC 7578).
    if "charset" in options:
        check_echo(response, top_k=2)
    else:
        check_problem(response, 422, "invalid_request")


@settings(max_examples=150, deadline=None)
@given(st.data())
async def test_damaged_forms_end_in_an_answer(data):
    body = bytearray(form(FILE, part("parameters", '{"top_k": 2}')))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    async with connect() as client:
        response = await client.post("/", content=bytes(body), headers=FORM)
    if response.status_code != 200:
        check_problem(response, 422, "invalid_request")


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


async def test_a_million_mistakes_get_a_short_answer(client):
    parameters = {f"unknown{number}" + "x" * 1000: 1 for number in range(500)}
    detail = check_problem(await client.post("/", json=as_json(**parameters)), 422, "invalid_request")
    assert "unknown0" in detail
    assert "490 more" in detail


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
