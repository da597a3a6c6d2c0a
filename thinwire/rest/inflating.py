"""``Content-Encoding`` of requests: gzip and deflate, inflated piece by piece within a limit."""

import zlib
from collections.abc import Iterator, Sequence

from thinwire.errors import InvalidRequestError, PayloadTooLargeError, UnsupportedEncodingError

PIECE_BYTES = 64 * 1024
# Each costs a start of zlib, and an empty one only 20 bytes. Block gzip has one for 64 KiB.
MAX_MEMBERS = 1000


def coding_of(values: Sequence[str]) -> str:
    """The one coding that ``Content-Encoding`` headers name, "gzip" or "deflate"; "" for none.

    Raises:
        UnsupportedEncodingError: they name another, or more than one.
    """
    names = [name.strip().lower() for value in values for name in value.split(",")]
    # RFC 9110, 8.4.1: x-gzip is gzip, and identity is nothing.
    kept = [name.removeprefix("x-") if name == "x-gzip" else name for name in names if name not in ("", "identity")]
    if len(kept) > 1 or not set(kept) <= {"gzip", "deflate"}:
        shown = ", ".join(values)[:80]
        raise UnsupportedEncodingError(f"content-encoding: expected gzip, deflate or identity, got {shown!r}")
    return kept[0] if kept else ""


class Inflater:
    """Inflates one body.

    gzip may have several members, one behind the other (RFC 1952). Deflate is zlib's format (RFC 1950, as HTTP has it)
    or the raw one (RFC 1951, as many send it). What follows the compressed data is refused.

    Args:
        coding: "gzip" or "deflate".
        limit: most bytes that may come out.
    """

    def __init__(self, coding: str, limit: int) -> None:
        self._coding = coding
        self._limit = limit
        self._made = 0
        self._members = 0
        self._head = b""
        self._stream: zlib._Decompress | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The pieces that come out of one more piece, none of them over `PIECE_BYTES` bytes.

        Raises:
            InvalidRequestError: it is not of the coding, or comes behind its end.
            PayloadTooLargeError: more than the limit came out.
        """
        while True:
            if self._stream is None or self._stream.eof:
                data, self._head = self._head + data, b""
                # The first two bytes tell zlib's format from the raw one.
                if len(data) < 2:
                    self._head = data
                    return
                self._stream = self._start(data)
            try:
                piece = self._stream.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise InvalidRequestError(f"the body is not the {self._coding} that it says it is: {error}") from None
            self._made += len(piece)
            if self._made > self._limit:
                raise PayloadTooLargeError(f"the body is over {self._limit} bytes once it is inflated")
            if piece:
                yield piece
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            # zlib holds more back only where the piece was full.
            if not data and (self._stream.eof or len(piece) < PIECE_BYTES):
                return

    def finish(self) -> None:
        """Check that the data ended where the body does.

        Raises:
            InvalidRequestError: it is cut short.
        """
        if self._stream is None or not self._stream.eof or self._head:
            raise InvalidRequestError(f"the {self._coding} of the body is cut short")

    def _start(self, head: bytes) -> "zlib._Decompress":
        self._members += 1
        if self._members > (MAX_MEMBERS if self._coding == "gzip" else 1):
            raise InvalidRequestError(f"more than {self._members - 1} {self._coding} streams in one body")
        if self._coding == "gzip":
            return zlib.decompressobj(16 + zlib.MAX_WBITS)
        is_zlib = head[0] & 0x0F == zlib.DEFLATED and int.from_bytes(head[:2]) % 31 == 0
        return zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
