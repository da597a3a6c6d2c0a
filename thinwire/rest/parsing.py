"""Requests from their forms: JSON, multipart/form-data, or a raw image."""

import base64
import binascii
from collections.abc import AsyncGenerator, Callable
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import ImmutableMultiDict, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES
from thinwire.rest.problems import describe_validation, name_of
from thinwire.rest.schemas import ClassifyBody, Parameters, QuestionInputs, VqaBody, VqaParameters

# Base64 takes 4 bytes for 3; the rest of the body is small.
MAX_BODY_BYTES = MAX_BYTES * 4 // 3 + 64 * 1024
B = TypeVar("B", bound=BaseModel)


async def read_body(request: Request) -> bytes:
    """The whole body, refused as soon as it is too large.

    Raises:
        PayloadTooLargeError: more than `MAX_BODY_BYTES` arrive.
    """
    body = bytearray()
    async for chunk in _limited(request):
        body += chunk
    return bytes(body)


async def _limited(request: Request) -> AsyncGenerator[bytes]:
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"the body is over {MAX_BODY_BYTES} bytes")
        yield chunk


async def parse_classify(request: Request) -> tuple[bytes, Parameters]:
    """Image and parameters of a request.

    JSON carries `ClassifyBody`. Multipart carries the image as the file ``image`` and, optionally, the JSON of
    `Parameters` as the field ``parameters``. A raw ``image/*`` body carries that JSON in the query ``parameters``. Any
    other field or query is refused.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError: the body is too large.
    """
    media_type = _media_type(request)
    is_raw = _is_image(media_type)
    _check_names(request.query_params, {"parameters"} if is_raw else set(), "query")
    if media_type == "application/json":
        body = parse_json(ClassifyBody, await read_body(request))
        return decode_base64(body.inputs), body.parameters
    if media_type == "multipart/form-data":
        image, fields = await _parse_multipart(request, {"parameters"})
        return image, _parse_parameters(Parameters, fields.get("parameters"))
    if is_raw:
        parameters = _parse_parameters(Parameters, request.query_params.get("parameters"))
        return await read_body(request), parameters
    raise InvalidRequestError(
        f"content type {media_type[:80]!r}: expected application/json, multipart/form-data or image/*"
    )


async def parse_vqa(request: Request) -> tuple[bytes, str, VqaParameters]:
    """Image, question and parameters of a request.

    JSON carries `VqaBody`. Multipart carries the image as the file ``image``, the field ``question`` and, optionally,
    the JSON of `VqaParameters` as the field ``parameters``. A raw image has no room for a question.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError: the body is too large.
    """
    media_type = _media_type(request)
    _check_names(request.query_params, set(), "query")
    if media_type == "application/json":
        body = parse_json(VqaBody, await read_body(request))
        return decode_base64(body.inputs.image, "inputs.image"), body.inputs.question, body.parameters
    if media_type == "multipart/form-data":
        image, fields = await _parse_multipart(request, {"question", "parameters"})
        parameters = _parse_parameters(VqaParameters, fields.pop("parameters", None))
        return image, _validated(lambda: QuestionInputs.model_validate(fields)).question, parameters
    hint = "; a raw image has no question" if _is_image(media_type) else ""
    raise InvalidRequestError(
        f"content type {media_type[:80]!r}: expected application/json or multipart/form-data{hint}"
    )


async def parse_only_json(request: Request, kind: type[B]) -> B:
    """The body of a request that has no other form than JSON.

    Raises:
        InvalidRequestError: the body is not what was expected.
        PayloadTooLargeError: the body is too large.
    """
    media_type = _media_type(request)
    _check_names(request.query_params, set(), "query")
    if media_type != "application/json":
        raise InvalidRequestError(f"content type {media_type[:80]!r}: expected application/json")
    return parse_json(kind, await read_body(request))


def parse_json(kind: type[B], data: bytes) -> B:
    """A body from its JSON.

    Raises:
        InvalidRequestError: it is not what was expected.
    """
    return _validated(lambda: kind.model_validate_json(data))


def _validated(parse: Callable[[], B], where: str = "") -> B:
    try:
        return parse()
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        raise InvalidRequestError(where + describe_validation(mistakes), name_of(mistakes[0])) from None


def _media_type(request: Request) -> str:
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body has {declared} bytes; the limit is {MAX_BODY_BYTES}")
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_image(media_type: str) -> bool:
    return media_type.startswith("image/") or media_type == "application/octet-stream"


class _FormParser(MultiPartParser):
    """Starlette's parser, which by itself writes a file of any size to disk and takes a form that is cut short."""

    def __init__(self, request: Request) -> None:
        limits = {"max_files": 1, "max_fields": 2, "max_part_size": MAX_BODY_BYTES}
        super().__init__(request.headers, self._whole(request), **limits)
        self._ended = False

    def on_end(self) -> None:
        """The boundary that closes the form was met."""
        self._ended = True

    def on_part_end(self) -> None:
        """A part was read; one of text must be UTF-8, where Starlette would take its bytes for Latin-1."""
        if self._current_part.file is None:
            try:
                self._current_part.data.decode()
            except UnicodeDecodeError:
                raise MultiPartException(f"the field {self._current_part.field_name!r} is not UTF-8.") from None
        super().on_part_end()

    async def _whole(self, request: Request) -> AsyncGenerator[bytes]:
        async for chunk in _limited(request):
            yield chunk
        if not self._ended:
            raise MultiPartException("it is cut short.")


async def _parse_multipart(request: Request, fields: set[str]) -> tuple[bytes, dict[str, str]]:
    """The image, and those of the fields that there are."""
    try:
        form = await _FormParser(request).parse()
    except MultiPartException as error:
        raise InvalidRequestError(f"the form cannot be read: {error.message}") from None
    try:
        _check_names(form, {"image", *fields}, "form")
        image = form.get("image")
        if not isinstance(image, UploadFile):
            raise InvalidRequestError("the form needs the image as a file in the field 'image'")
        given: dict[str, str] = {}
        for name in sorted(fields & form.keys()):
            value = form[name]
            if isinstance(value, UploadFile):
                kind = "JSON text" if name == "parameters" else "text"
                raise InvalidRequestError(f"the field {name!r} must be {kind}, not a file")
            given[name] = value
        return await image.read(MAX_BYTES + 1), given
    finally:
        await form.close()


def _check_names(given: ImmutableMultiDict[str, Any], allowed: set[str], where: str) -> None:
    # What is not read must not be ignored: the caller would believe that it took effect.
    for name, _ in given.multi_items():
        if name not in allowed:
            expected = " and ".join(sorted(allowed)) or "nothing"
            raise InvalidRequestError(f"the {where} may hold {expected}, got {name[:80]!r}")
        if len(given.getlist(name)) > 1:
            raise InvalidRequestError(f"the {where} holds {name!r} more than once")


def _parse_parameters(kind: type[B], text: str | None) -> B:
    return _validated(lambda: kind() if text is None else kind.model_validate_json(text), "parameters: ")


def decode_base64(text: str, name: str = "inputs") -> bytes:
    """The bytes behind base64; ``name`` is what to call it.

    Raises:
        InvalidImageError: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImageError(f"{name} is not base64: {error}") from None
