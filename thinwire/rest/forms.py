"""Forms of ``multipart/form-data`` (RFC 7578): parts by their names, whether or not a client calls them files.

Starlette's parser takes what has a file name for a file and the rest for text. Clients do not agree on that: a browser
names every Blob, and the RFC leaves an image's file name out at will.
"""

import binascii
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from thinwire.errors import InvalidRequestError
from thinwire.rest.data_urls import decode_base64


@dataclass(frozen=True)
class Part:
    """One part of a form.

    Attributes:
        name: of its field.
        content: its bytes, out of their ``Content-Transfer-Encoding``.
        content_type: the value of that header; "" without one.
    """

    name: str
    content: bytes
    content_type: str


async def read_form(content_type: str, body: AsyncGenerator[bytes], names: Collection[str]) -> dict[str, Part]:
    """The parts of a form by name; as `read_parts`, of which each may come once."""
    return {part.name: part for part in await read_parts(content_type, body, names)}


async def read_parts(
    content_type: str, body: AsyncGenerator[bytes], names: Collection[str], repeated: Collection[str] = ()
) -> list[Part]:
    """The parts of a form in order, held in memory: the caller bounds the body.

    Args:
        content_type: of the body, with its boundary.
        body: piece by piece.
        names: what the form may hold.
        repeated: those of them that may come more than once.

    Raises:
        InvalidRequestError: it is no form, is cut short, or holds anything else.
    """
    reader = _Reader(names, repeated)
    callbacks = {name: getattr(reader, name) for name in vars(_Reader) if name.startswith("on_")}
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise InvalidRequestError("the form's content-type names no boundary; an HTTP client that makes the form does")
    try:
        # Before the first boundary RFC 2046 allows text, and behind it blanks, which the parser takes behind the others
        # only. So it gets that text as the end of a part that nobody reads.
        called: Any = {"on_part_end": lambda: called.update(callbacks)}
        parser = MultipartParser(boundary, called)
        parser.write(b"--" + boundary + b"\r\n\r\n\r\n")
        async for piece in body:
            parser.write(piece)
    except FormParserError as error:
        raise InvalidRequestError(f"the form cannot be read: {error}") from None
    if called.keys() != callbacks.keys():
        shown = f"--{boundary.decode('latin-1')}"[:80]
        raise InvalidRequestError(f"the form cannot be read: no line of it is {shown!r}, with CRLF behind it")
    if not reader.is_ended:
        raise InvalidRequestError("the form cannot be read: it is cut short")
    return reader.parts


class _Reader:
    """What python-multipart calls as it reads."""

    def __init__(self, names: Collection[str], repeated: Collection[str]) -> None:
        self._names = names
        self._repeated = repeated
        self.parts: list[Part] = []
        self.is_ended = False

    def on_part_begin(self) -> None:
        self._headers: dict[str, bytes] = {}
        self._field, self._value, self._content = bytearray(), bytearray(), bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._field.decode("latin-1").lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        options = parse_options_header(self._headers.get("content-disposition", b""))[1]
        name = options.get(b"name", b"").decode(errors="replace")
        # What is not read must not be ignored: the caller would believe that it took effect.
        if name not in self._names:
            raise InvalidRequestError(f"the form may hold {' and '.join(sorted(self._names))}, got {name[:80]!r}")
        if name not in self._repeated and any(part.name == name for part in self.parts):
            raise InvalidRequestError(f"the form holds {name!r} more than once")
        if coding := _coding(self._headers, "content-encoding"):
            raise InvalidRequestError(
                f"content-encoding of {name!r}: only the body as a whole may be compressed, got {coding[:80]!r}"
            )
        self._name = name

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def on_part_end(self) -> None:
        content = _decoded(bytes(self._content), _coding(self._headers, "content-transfer-encoding"), self._name)
        self.parts.append(Part(self._name, content, self._headers.get("content-type", b"").decode("latin-1")))

    def on_end(self) -> None:
        self.is_ended = True


def _coding(headers: Mapping[str, bytes], header: str) -> str:
    coding = headers.get(header, b"").decode("latin-1").strip().lower()
    return "" if coding == "identity" else coding


def _decoded(content: bytes, coding: str, name: str) -> bytes:
    # Out of use since 2015 (RFC 7578, 4.7), and still what libraries for mail send.
    if coding in ("", "7bit", "8bit", "binary"):
        return content
    if coding == "base64":
        return decode_base64(content.decode("latin-1"), name)
    if coding == "quoted-printable":
        return binascii.a2b_qp(content)
    raise InvalidRequestError(f"content-transfer-encoding of {name!r}: expected base64 or binary, got {coding[:80]!r}")
