"""Forms that are malformed or damaged, and the problem that each gets."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.thinwire.rest.requests import FILE, FORM, IMAGE, check_echo, check_problem, connect, form, part


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
