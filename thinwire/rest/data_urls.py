"""Images as text: base64 as clients really write it, bare or in a ``data:`` URL (RFC 2397)."""

import base64
import re
import string

from thinwire.errors import InvalidImageError, InvalidRequestError

# Enough of a text to recognise it by.
MAX_SHOWN = 80
MAX_HEAD = 1000
_WITHIN_A_LINE = re.compile(rb"\S[ \t]+\S")
_STANDARD = bytes.maketrans(b"-_", b"+/")
# What base64 and its line breaks become in a URL.
_PERCENT = {"%2b": "+", "%2f": "/", "%3d": "=", "%0a": "\n", "%0d": "\n", "%20": " "}


def read_image(text: str, name: str) -> bytes:
    """The bytes behind base64 or a ``data:`` URL.

    Args:
        text: either of them.
        name: what to call it in an error.

    Raises:
        InvalidRequestError: it is an address of an image elsewhere.
        InvalidImageError: it is neither, or the URL's own type is no image.
    """
    start = text[:MAX_SHOWN].lstrip().lower()
    return read_data_url(text, name) if start.startswith("data:") or "://" in start else decode_base64(text, name)


def read_data_url(url: str, name: str) -> bytes:
    """The bytes behind a ``data:`` URL in base64.

    Its scheme, type and options may be in any case and hold white space; the type may be left out, as a browser does
    for a file of no known type.

    Args:
        url: the whole of it.
        name: what to call it in an error.

    Raises:
        InvalidRequestError: it is a URL of another scheme: nothing is fetched for anybody.
        InvalidImageError: its type is no image, or it is not in base64.
    """
    head, comma, _ = url[:MAX_HEAD].partition(",")
    scheme, colon, described = "".join(head.split()).lower().partition(":")
    if not colon or scheme != "data":
        raise InvalidRequestError(
            f"{name}: an image must come as a data: URL, and nothing is fetched for you; got {url[:MAX_SHOWN]!r}"
        )
    media_type, *options = described.split(";")
    if not comma or not (is_image(media_type) or not media_type) or "base64" not in options:
        hint = "; percent-encoding is not read" if comma and "base64" not in options else ""
        raise InvalidImageError(f"{name}: expected data:image/...;base64,..., got {url[:MAX_SHOWN]!r}{hint}")
    data = url[len(head) + 1 :]
    if "%" in data:
        for code, character in _PERCENT.items():
            data = data.replace(code, character).replace(code.upper(), character)
    return decode_base64(data, name)


def decode_base64(text: str, name: str) -> bytes:
    """The bytes behind base64 of the standard or the URL-safe alphabet, mixed or not, with line breaks or without.

    Padding may be left out, but not in part. A space within a line is refused: it was a "+" more often than not, and
    what is left would be other bytes.

    Args:
        text: the base64.
        name: what to call it in an error.

    Raises:
        InvalidImageError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        pass
    # Without a list of the lines: tens of megabytes of short ones would be gigabytes.
    try:
        plain = text.encode("ascii").strip()
        if _WITHIN_A_LINE.search(plain):
            raise ValueError("white space within a line")
        plain = plain.translate(_STANDARD, string.whitespace.encode())
        if b"=" not in plain:
            plain += b"=" * (-len(plain) % 4)
        return base64.b64decode(plain, validate=True)
    except ValueError as error:
        reason = f"character U+{ord(text[error.start]):04X}" if isinstance(error, UnicodeEncodeError) else error
        raise InvalidImageError(f"{name} is not base64: {reason}; got {text[:MAX_SHOWN]!r}") from None


def is_image(media_type: str) -> bool:
    """Whether a media type may be that of an image, whose format is then read from its bytes."""
    return media_type.startswith("image/") or media_type == "application/octet-stream"
