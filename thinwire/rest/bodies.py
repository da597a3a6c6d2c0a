"""Bodies of requests as they come: inflated, within the limit, as bytes or text."""

import asyncio
import codecs
from collections.abc import AsyncGenerator

from fastapi import Request
from python_multipart.multipart import parse_options_header

from thinwire.errors import InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES
from thinwire.rest.inflating import Inflater, coding_of

# Base64 takes 4 bytes for 3, and JSON 4 more for a line break after each 64; the rest of the body is small.
MAX_BODY_BYTES = MAX_BYTES * 4 // 3 * 68 // 64 + 64 * 1024
# Text of any other charset is taken for UTF-8, which JSON always is by RFC 8259, or else refused.
_CHARSETS = {"iso8859-1", "iso8859-15", "cp1252", "utf-16"}


async def read_body(request: Request) -> bytes:
    """The whole body, inflated.

    Raises:
        PayloadTooLargeError, UnsupportedEncodingError, InvalidRequestError: as for `pieces`.
    """
    body = bytearray()
    async for piece in pieces(request):
        body += piece
    return bytes(body)


async def pieces(request: Request) -> AsyncGenerator[bytes]:
    """The body as it comes, inflated, refused as soon as it is too large.

    Raises:
        PayloadTooLargeError: more than `MAX_BODY_BYTES` are declared, arrive, or come out.
        UnsupportedEncodingError: its ``Content-Encoding`` is none that we inflate.
        InvalidRequestError: it is not of its ``Content-Encoding``, or is cut short.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body has {declared} bytes; the limit is {MAX_BODY_BYTES}")
    coding = coding_of(request.headers.getlist("content-encoding"))
    inflater = Inflater(coding, MAX_BODY_BYTES) if coding else None
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"the body is over {MAX_BODY_BYTES} bytes")
        if inflater is None:
            yield chunk
            continue
        for piece in inflater.feed(chunk):
            yield piece
            # One chunk can hold megabytes, and others are served by this loop, too.
            await asyncio.sleep(0)
    if inflater is not None:
        inflater.finish()


def media_type(request: Request) -> str:
    """The body's media type, in lower case and without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def decode_text(content: bytes, content_type: str, name: str) -> str:
    """Text of the charset that a content type names, UTF-8 by default; a byte order mark is left out.

    Args:
        content: the text's bytes.
        content_type: the value of its header.
        name: what to call it in an error.

    Raises:
        InvalidRequestError: the bytes are not of that charset.
    """
    try:
        charset = codecs.lookup(parse_options_header(content_type)[1].get(b"charset", b"").decode("latin-1")).name
    except (LookupError, ValueError):
        charset = ""
    try:
        return content.decode(charset if charset in _CHARSETS else "utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{name} is not {charset if charset in _CHARSETS else 'UTF-8'}") from None
