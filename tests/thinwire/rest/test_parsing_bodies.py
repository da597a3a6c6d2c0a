"""Bodies through a real application: compressed ones of every form, and text of every charset."""

import gzip
import json
import zlib

import pytest

from tests.thinwire.rest.requests import (
    FILE,
    FORM,
    IMAGE,
    JSON,
    PNG,
    as_json,
    check_echo,
    check_problem,
    form,
    part,
)
from thinwire.errors import InvalidRequestError
from thinwire.rest.parsing import MAX_BODY_BYTES, decode_text

BODIES = {
    "json": (json.dumps(as_json()).encode(), JSON),
    "form": (form(FILE), FORM),
    "raw": (IMAGE, PNG),
}


@pytest.mark.parametrize("name", BODIES)
async def test_compressed_bodies(client, name):
    content, headers = BODIES[name]
    for coding, compress in (("gzip", gzip.compress), ("deflate", zlib.compress), ("Identity, X-GZIP", gzip.compress)):
        asked = headers | {"content-encoding": coding}
        check_echo(await client.post("/", content=compress(content), headers=asked))
        cut = compress(content)[:-3]
        assert "cut short" in check_problem(await client.post("/", content=cut, headers=asked), 422, "invalid_request")
        plain = await client.post("/", content=content, headers=asked)
        assert "not the" in check_problem(plain, 422, "invalid_request")


@pytest.mark.parametrize("name", BODIES)
async def test_other_codings_are_told_what_is_taken(client, name):
    content, headers = BODIES[name]
    for coding in ("br", "gzip, gzip"):
        response = await client.post("/", content=content, headers=headers | {"content-encoding": coding})
        assert repr(coding) in check_problem(response, 415, "unsupported_encoding")
        assert response.headers["accept-encoding"] == "gzip, deflate"


@pytest.mark.parametrize("name", BODIES)
async def test_the_limit_is_on_what_comes_out(client, name):
    content, headers = BODIES[name]
    start = content[:-2] if name != "json" else b'{"inputs": "'
    bomb = gzip.compress(start + b"a" * MAX_BODY_BYTES)
    assert len(bomb) < 10**5
    response = await client.post("/", content=bomb, headers=headers | {"content-encoding": "gzip"})
    assert str(MAX_BODY_BYTES) in check_problem(response, 413, "payload_too_large")


async def test_the_limit_is_on_what_comes_in_too(client):
    # Blocks of nothing: 5 bytes each, and no end.
    sent = 0

    async def endless():
        nonlocal sent
        yield b"\x00\x00\x00\xff\xff"
        while sent < 4 * MAX_BODY_BYTES:
            chunk = b"\x00\x00\x00\xff\xff" * 200_000
            sent += len(chunk)
            yield chunk

    response = await client.post("/", content=endless(), headers=PNG | {"content-encoding": "deflate"})
    check_problem(response, 413, "payload_too_large")
    assert sent <= MAX_BODY_BYTES + 2 * 10**6


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("où".encode(), "", "où"),
        ("où".encode(), "text/plain", "où"),
        ("\ufeffoù".encode(), "application/json", "où"),
        ("où".encode(), "text/plain; charset=utf-8", "où"),
        ("où".encode(), "text/plain; charset=us-ascii", "où"),
        ("où".encode(), "text/plain; charset=nonsense", "où"),
        ("où".encode(), "text/plain; charset=punycode", "où"),
        ("où".encode("latin-1"), "text/plain; charset=ISO-8859-1", "où"),
        ("où".encode("latin-1"), 'text/plain;Charset="latin1"', "où"),
        ("où €".encode("cp1252"), "text/plain; charset=windows-1252", "où €"),
        ("où".encode("utf-16"), "application/json; charset=utf-16", "où"),
        ("où".encode(), "; charset=\0", "où"),
    ],
)
def test_charsets(content, content_type, text):
    assert decode_text(content, content_type, "it") == text


@pytest.mark.parametrize(
    ("content", "content_type", "words"),
    [
        ("où".encode("latin-1"), "", "it is not UTF-8"),
        ("où".encode("latin-1"), "text/plain; charset=gb18030", "it is not UTF-8"),
        (b"a", "text/plain; charset=utf-16", "it is not utf-16"),
        (b"\x81", "text/plain; charset=windows-1252", "it is not cp1252"),
    ],
)
def test_what_is_not_of_its_charset(content, content_type, words):
    with pytest.raises(InvalidRequestError, match=words):
        decode_text(content, content_type, "it")


async def test_json_of_another_charset(client):
    headers = {"content-type": "application/json; charset=utf-16"}
    check_echo(await client.post("/", content=json.dumps(as_json(top_k=2)).encode("utf-16"), headers=headers), top_k=2)
    headers = {"content-type": "application/json"}
    response = await client.post("/", content=b'{"inputs": "\xff"}', headers=headers)
    assert "the body is not UTF-8" in check_problem(response, 422, "invalid_request")
    parameters = part(
        "parameters", '{"policy": "é"}'.encode("latin-1"), "x\r\nContent-Type: text/plain; charset=latin1"
    )
    check_echo(await client.post("/", content=form(FILE, parameters), headers=FORM), policy="é")
