"""A classification request from any of its three forms: JSON, multipart/form-data, or a raw image."""

import base64
import binascii
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import ImmutableMultiDict, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES
from thinwire.rest.problems import describe_validation
from thinwire.rest.schemas import ClassifyBody, Parameters

# Base64 takes 4 bytes for 3; the rest of the body is small.
MAX_BODY_BYTES = MAX_BYTES * 4 // 3 + 64 * 1024


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
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body has {declared} bytes; the limit is {MAX_BODY_BYTES}")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_raw = media_type.startswith("image/") or media_type == "application/octet-stream"
    _check_names(request.query_params, {"parameters"} if is_raw else set(), "query")
    if media_type == "application/json":
        try:
            body = ClassifyBody.model_validate_json(await read_body(request))
        except ValidationError as error:
            raise InvalidRequestError(describe_validation(error.errors(include_url=False))) from None
        return _decode_base64(body.inputs), body.parameters
    if media_type == "multipart/form-data":
        return await _parse_multipart(request)
    if is_raw:
        parameters = _parse_parameters(request.query_params.get("parameters"))
        return await read_body(request), parameters
    raise InvalidRequestError(
        f"content type {media_type[:80]!r}: expected application/json, multipart/form-data or image/*"
    )


class _FormParser(MultiPartParser):
    """Starlette's parser, which by itself writes a file of any size to disk and takes a form that is cut short."""

    def __init__(self, request: Request) -> None:
        limits = {"max_files": 1, "max_fields": 2, "max_part_size": MAX_BODY_BYTES}
        super().__init__(request.headers, self._whole(request), **limits)
        self._ended = False

    def on_end(self) -> None:
        """The boundary that closes the form was met."""
        self._ended = True

    async def _whole(self, request: Request) -> AsyncGenerator[bytes]:
        async for chunk in _limited(request):
            yield chunk
        if not self._ended:
            raise MultiPartException("it is cut short.")


async def _parse_multipart(request: Request) -> tuple[bytes, Parameters]:
    try:
        form = await _FormParser(request).parse()
    except MultiPartException as error:
        raise InvalidRequestError(f"the form cannot be read: {error.message}") from None
    try:
        _check_names(form, {"image", "parameters"}, "form")
        image, parameters = form.get("image"), form.get("parameters")
        if not isinstance(image, UploadFile):
            raise InvalidRequestError("the form needs the image as a file in the field 'image'")
        if isinstance(parameters, UploadFile):
            raise InvalidRequestError("the field 'parameters' must be JSON text, not a file")
        return await image.read(MAX_BYTES + 1), _parse_parameters(parameters)
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


def _parse_parameters(text: str | None) -> Parameters:
    if text is None:
        return Parameters()
    try:
        return Parameters.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequestError(f"parameters: {describe_validation(error.errors(include_url=False))}") from None


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImageError(f"inputs is not base64: {error}") from None
