"""Requests: the body as it comes, and image and parameters from JSON, multipart/form-data, or a raw image."""

import asyncio
import codecs
from collections.abc import AsyncGenerator, Callable, Collection
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.multipart import parse_options_header

from thinwire.audio import MAX_BYTES as MAX_AUDIO_BYTES
from thinwire.errors import InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES
from thinwire.rest.data_urls import is_image, read_data_url, read_image
from thinwire.rest.forms import Part, read_form, read_parts
from thinwire.rest.inflating import Inflater, coding_of
from thinwire.rest.problems import describe_validation, name_of
from thinwire.rest.schemas import ClassifyBody, Parameters, QuestionInputs, VqaBody, VqaParameters
from thinwire.rest.transcriptions import PARTS, REPEATED, TranscriptionBody, check_transcription, form_fields

B = TypeVar("B", bound=BaseModel)
# Base64 takes 4 bytes for 3, and JSON 4 more for a line break after each 64; the rest of the body is small.
MAX_BODY_BYTES = MAX_BYTES * 4 // 3 * 68 // 64 + 64 * 1024
# A form carries audio as it is.
MAX_AUDIO_BODY_BYTES = MAX_AUDIO_BYTES + 64 * 1024
# Text of any other charset is taken for UTF-8, which JSON always is by RFC 8259, or else refused.
_CHARSETS = {"iso8859-1", "iso8859-15", "cp1252", "utf-16"}


async def parse_classify(request: Request) -> tuple[bytes, Parameters]:
    """Image and parameters of a request.

    JSON carries `ClassifyBody`. Multipart carries the image as the part ``image`` and, optionally, the JSON of
    `Parameters` as the part ``parameters``. A raw ``image/*`` body carries that JSON in the query ``parameters``. Any
    other part or query is refused.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError, UnsupportedEncodingError: as for `_pieces`.
    """
    kind = _media_type(request)
    is_raw = is_image(kind)
    check_query(request, {"parameters"} if is_raw else set())
    if _is_json(kind):
        body = await _parse_body(request, ClassifyBody)
        return read_image(body.inputs, "inputs"), body.parameters
    if kind == "multipart/form-data":
        image, parts = await _parse_form(request, {"parameters"})
        return image, _parse_part(Parameters, parts.get("parameters"))
    if is_raw:
        parameters = _parse_parameters(Parameters, request.query_params.get("parameters"))
        return await read_body(request), parameters
    raise InvalidRequestError(f"content type {kind[:80]!r}: expected application/json, multipart/form-data or image/*")


async def parse_vqa(request: Request) -> tuple[bytes, str, VqaParameters]:
    """Image, question and parameters of a request.

    JSON carries `VqaBody`. Multipart carries the image as the part ``image``, the part ``question`` and, optionally,
    the JSON of `VqaParameters` as the part ``parameters``. A raw image has no room for a question.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError, UnsupportedEncodingError: as for `_pieces`.
    """
    kind = _media_type(request)
    check_query(request, set())
    if _is_json(kind):
        body = await _parse_body(request, VqaBody)
        return read_image(body.inputs.image, "inputs.image"), body.inputs.question, body.parameters
    if kind == "multipart/form-data":
        image, parts = await _parse_form(request, {"question", "parameters"})
        parameters = _parse_part(VqaParameters, parts.get("parameters"))
        asked = {"question": text_of(parts["question"])} if "question" in parts else {}
        return image, _validated(lambda: QuestionInputs.model_validate(asked)).question, parameters
    hint = "; a raw image has no question" if is_image(kind) else ""
    raise InvalidRequestError(f"content type {kind[:80]!r}: expected application/json or multipart/form-data{hint}")


async def parse_transcription(request: Request) -> tuple[bytes | None, TranscriptionBody]:
    """Audio and parameters of a request to write down a clip.

    Multipart carries the audio as the part ``file`` and each field of `TranscriptionBody` as a part of its own, in the
    forms of `form_fields`. With ``id`` in place of the file, which names a frame that was received before, JSON will
    do.

    Returns:
        the encoded audio, or None where ``id`` stands in its place.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        PayloadTooLargeError, UnsupportedEncodingError: as for `_pieces`, of up to `MAX_AUDIO_BODY_BYTES`.
    """
    kind = _media_type(request)
    check_query(request, set())
    if _is_json(kind):
        body = await _parse_body(request, TranscriptionBody)
        check_transcription(body, has_file=False)
        return None, body
    if kind != "multipart/form-data":
        raise InvalidRequestError(
            f"content type {kind[:80]!r}: expected multipart/form-data, or application/json with the id of a frame"
        )
    pieces = _pieces(request, MAX_AUDIO_BODY_BYTES)
    parts = await read_parts(request.headers["content-type"], pieces, PARTS, REPEATED)
    audio = next((part.content for part in parts if part.name == "file"), None)
    fields = form_fields([(part.name, text_of(part)) for part in parts if part.name != "file"])
    body = _validated(lambda: TranscriptionBody.model_validate(fields))
    check_transcription(body, has_file=audio is not None)
    return audio, body


async def parse_only_json(request: Request, kind: type[B]) -> B:
    """The body of a request that has no other form than JSON.

    Raises:
        InvalidRequestError: the body is not what was expected.
        PayloadTooLargeError, UnsupportedEncodingError: as for `_pieces`.
    """
    check_query(request, set())
    if not _is_json(_media_type(request)):
        raise InvalidRequestError(f"content type {_media_type(request)[:80]!r}: expected application/json")
    return await _parse_body(request, kind)


async def _parse_body(request: Request, kind: type[B]) -> B:
    body = await read_body(request)
    return parse_json(kind, decode_text(body, request.headers.get("content-type", ""), "the body"))


def parse_json(kind: type[B], text: str | bytes) -> B:
    """A body from its JSON.

    Raises:
        InvalidRequestError: it is not what was expected.
    """
    return _validated(lambda: kind.model_validate_json(text))


def _validated(parse: Callable[[], B], where: str = "") -> B:
    try:
        return parse()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        raise InvalidRequestError(where + describe_validation(mistakes), name_of(mistakes[0])) from None


def _is_json(kind: str) -> bool:
    # RFC 6839: what ends in +json can be read as JSON.
    return kind in ("application/json", "text/json") or (kind.startswith("application/") and kind.endswith("+json"))


async def _parse_form(request: Request, names: Collection[str]) -> tuple[bytes, dict[str, Part]]:
    """The image, and those of the other parts that there are."""
    parts = await read_form(request.headers["content-type"], _pieces(request), {"image", *names})
    if "image" not in parts:
        raise InvalidRequestError("the form needs the image in the part 'image'")
    image = parts["image"].content
    # What a canvas gives a page; no format of images starts like it.
    if image[:5].lower() == b"data:":
        image = read_data_url(image.decode("latin-1"), "image")
    return image, parts


async def read_body(request: Request, limit: int = MAX_BODY_BYTES) -> bytes:
    """The whole body, inflated, of at most so many bytes.

    Raises:
        PayloadTooLargeError, UnsupportedEncodingError, InvalidRequestError: as for `_pieces`.
    """
    body = bytearray()
    async for piece in _pieces(request, limit):
        body += piece
    return bytes(body)


async def _pieces(request: Request, limit: int = MAX_BODY_BYTES) -> AsyncGenerator[bytes]:
    """The body as it comes, inflated, refused as soon as it is too large.

    Raises:
        PayloadTooLargeError: more than the limit are declared, arrive, or come out.
        UnsupportedEncodingError: its ``Content-Encoding`` is none that we inflate.
        InvalidRequestError: it is not of its ``Content-Encoding``, or is cut short.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise PayloadTooLargeError(f"the body has {declared} bytes; the limit is {limit}")
    encodings = request.headers.getlist("content-encoding")
    coding = coding_of(encodings) if encodings else ""
    inflater = Inflater(coding, limit) if coding else None
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > limit:
            raise PayloadTooLargeError(f"the body is over {limit} bytes")
        if inflater is None:
            yield chunk
            continue
        for piece in inflater.feed(chunk):
            yield piece
            # One chunk can hold megabytes, and others are served by this loop, too.
            await asyncio.sleep(0)
    if inflater is not None:
        inflater.finish()


def _media_type(request: Request) -> str:
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


def text_of(part: Part) -> str:
    """The text of a form's part.

    Raises:
        InvalidRequestError: it is not of its charset.
    """
    return decode_text(part.content, part.content_type, f"the field {part.name!r}")


def check_query(request: Request, allowed: set[str]) -> None:
    """Refuse a query that holds anything else, or anything twice.

    Raises:
        InvalidRequestError: it does.
    """
    # What is not read must not be ignored: the caller would believe that it took effect.
    for name, _ in request.query_params.multi_items():
        if name not in allowed:
            expected = " and ".join(sorted(allowed)) or "nothing"
            raise InvalidRequestError(f"the query may hold {expected}, got {name[:80]!r}")
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidRequestError(f"the query holds {name!r} more than once")


def _parse_part(kind: type[B], part: Part | None) -> B:
    return _parse_parameters(kind, None if part is None else text_of(part))


def _parse_parameters(kind: type[B], text: str | None) -> B:
    # A form that is filled in by hand sends its empty fields, too.
    is_left_out = text is None or not text.strip()
    return _validated(lambda: kind() if is_left_out else kind.model_validate_json(text or ""), "parameters: ")
