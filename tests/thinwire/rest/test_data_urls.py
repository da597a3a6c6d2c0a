"""Base64 and data: URLs in the ways that clients write them, and what each mistake is told."""

import base64
import contextlib
import re
import tracemalloc
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thinwire.errors import InvalidImageError, InvalidRequestError
from thinwire.rest.data_urls import decode_base64, read_data_url, read_image

# All characters of either alphabet, and a length that needs padding.
IMAGE = bytes(range(256)) * 3 + b"?"
TEXT = base64.b64encode(IMAGE).decode()
SAFE = base64.urlsafe_b64encode(IMAGE).decode()
BARE = TEXT.rstrip("=")


def wrapped(text, size, end="\n"):
    return end.join(text[at : at + size] for at in range(0, len(text), size))


BASE64 = {
    "plain": TEXT,
    "trailing newline, as of base64 -w0 in a file": TEXT + "\n",
    "wrapped by MIME": base64.encodebytes(IMAGE).decode(),
    "wrapped with CRLF": wrapped(TEXT, 76, "\r\n") + "\r\n",
    "wrapped with CR": wrapped(TEXT, 76, "\r"),
    "wrapped and indented": wrapped(TEXT, 64, "\n    "),
    "wrapped, with blanks before the ends of lines": wrapped(TEXT, 64, " \t\r\n"),
    "surrounded": f" \t\r\n {TEXT} \n\n",
    "unpadded": BARE,
    "unpadded and wrapped": wrapped(BARE, 76) + "\n",
    "URL-safe": SAFE,
    "URL-safe, unpadded": SAFE.rstrip("="),
    "both alphabets": SAFE[: len(SAFE) // 8 * 4] + TEXT[len(SAFE) // 8 * 4 :],
}


@pytest.mark.parametrize("name", BASE64)
def test_base64(name):
    assert decode_base64(BASE64[name], "inputs") == IMAGE
    assert read_image(BASE64[name], "inputs") == IMAGE
    assert read_image(f"data:image/png;base64,{BASE64[name]}", "inputs") == IMAGE


@given(st.binary(max_size=50), st.integers(1, 10))
def test_any_bytes_come_back(content, size):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(content).decode()
        assert decode_base64(wrapped(text, size), "x") == decode_base64(text.rstrip("="), "x") == content


NOT_BASE64 = {
    "one character too many": "a",
    "another one": "aaaaa",
    "padding in part": "QQ=",
    "padding alone": "====",
    "padding inside": "aa=a",
    "two that were joined": "QQ==QQ==",
    "a plus that became a space": "aa aaaaaaaaa",
    "a tab inside": "aaaa\taaaa",
    "another character": "aa*a",
    "a letter": "aaaé",
    "a letter of the alphabet, full width": "\uff41aaa",
    "half of a surrogate pair": "aaa\ud800",
    "NUL": "aaaa\0",
    "Python's bytes as text": "b'aaaa'",
    "a path": "/home/me/cat.jpg",
    "percent-encoded": "aaaa%3D%3D",
}


@pytest.mark.parametrize("name", NOT_BASE64)
def test_what_is_not_base64(name):
    text = NOT_BASE64[name]
    with pytest.raises(InvalidImageError, match="inputs is not base64: ") as caught:
        read_image(text, "inputs")
    assert str(caught.value).endswith(f"; got {text!r}")


@pytest.mark.parametrize(
    ("text", "code"), [("aaaa\u200baaaa", "U+200B"), ("\ufeffaaaa", "U+FEFF"), ("aaa\U0001f436", "U+1F436")]
)
def test_a_character_that_nobody_sees_is_named(text, code):
    for url in (text, f"data:image/png;base64,{text}"):
        with pytest.raises(InvalidImageError, match="inputs is not base64: character " + re.escape(code)):
            read_image(url, "inputs")


def test_no_error_repeats_a_whole_body():
    for text in ("*" * 10**6, "data:" + "*" * 10**6, "data:image/png;base64," + "*" * 10**6, "http://" + "a" * 10**6):
        with pytest.raises((InvalidImageError, InvalidRequestError)) as caught:
            read_image(text, "inputs")
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("start", ["", "data:image/png;base64,", "data:"])
@pytest.mark.parametrize("text", ["ab\n", "ab ", "%41", "a%3D"])
def test_memory_is_that_of_the_text(start, text):
    text = start + text * 10**6
    tracemalloc.start()
    try:
        with contextlib.suppress(InvalidImageError):
            read_image(text, "inputs")
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()


def test_nothing_is_an_empty_image():
    assert read_image("", "inputs") == read_image(" \n", "inputs") == b""


DATA_URLS = {
    "as a browser makes it": f"data:image/png;base64,{TEXT}",
    "any case": f"DATA:Image/PNG;BASE64,{TEXT}",
    "a parameter": f"data:image/png;charset=utf-8;base64,{TEXT}",
    "a name": f"data:image/png;name=a.png;base64,{TEXT}",
    "a quoted name": f'data:image/png;name="a b.png";base64,{TEXT}',
    "white space": f"  data: image/png ; base64 , {TEXT} \n",
    "line breaks in the head": f"data:image/png;\n base64,\n{wrapped(TEXT, 76)}\n",
    "no type": f"data:;base64,{TEXT}",
    "an unknown file": f"data:application/octet-stream;base64,{TEXT}",
    "an option behind": f"data:image/png;base64;name=a,{TEXT}",
    "percent-encoded on top": f"data:image/png;base64,{quote(TEXT, safe='')}",
    "line breaks percent-encoded": f"data:image/png;base64,{wrapped(TEXT, 76, '%0A')}%0a",
    "URL-safe": f"data:image/png;base64,{SAFE}",
}


@pytest.mark.parametrize("name", DATA_URLS)
def test_data_urls(name):
    assert read_data_url(DATA_URLS[name], "image_url") == read_image(DATA_URLS[name], "inputs") == IMAGE


HINT = "percent-encoding is not read"
NO_IMAGES = {
    "percent-encoded": ("data:image/png,%89PNG%0D%0A", HINT),
    "SVG": ("data:image/svg+xml;utf8,<svg/>", HINT),
    "a semicolon short": (f"data:image/png,base64,{TEXT}", HINT),
    "another type": (f"data:text/plain;base64,{TEXT}", "expected data:image/...;base64,..."),
    "PDF": (f"data:application/pdf;base64,{TEXT}", "expected data:image"),
    "no type known": (f"data:None;base64,{TEXT}", "expected data:image"),
    "no comma": ("data:image/png;base64", "expected data:image"),
    "nothing": ("data:", "expected data:image"),
    "no base64": ("data:image/png;base64,*", "inputs is not base64"),
}


@pytest.mark.parametrize("name", NO_IMAGES)
def test_data_urls_that_are_refused(name):
    url, words = NO_IMAGES[name]
    for read in (read_data_url, read_image):
        with pytest.raises(InvalidImageError, match="inputs") as caught:
            read(url, "inputs")
        assert words in str(caught.value)


@pytest.mark.parametrize("url", ["http://a.example/b.png", " HTTPS://a.example/b.png", "file:///a.png", "s3://a/b"])
def test_nothing_is_fetched(url):
    for read in (read_data_url, read_image):
        with pytest.raises(InvalidRequestError, match="nothing is fetched"):
            read(url, "inputs")


def test_bare_base64_is_no_url():
    with pytest.raises(InvalidRequestError, match="must come as a data: URL"):
        read_data_url(TEXT, "image_url")
