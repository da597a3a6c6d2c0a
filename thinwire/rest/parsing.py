"""A classification request from any of its three forms: JSON, multipart/form-data, or a raw image."""

import base64
import binascii
import json

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from thinwire.errors import InvalidImageError, InvalidRequestError, PayloadTooLargeError
from thinwire.images import MAX_BYTES
from thinwire.rest.problems import describe_validation
from thinwire.rest.schemas import ClassifyBody, Parameters

# Base64 takes 4 bytes for 3; the rest of the body is small.
MAX_BODY_BYTES = MAX_BYTES * 4 // 3 + 64 * 1024


async def read_body(request: Request) -> bytes:
    """The whole body, refused as soon as it is too large.

    Raises:
        PayloadTooLargeError: over `MAX_BODY_BYTES`, by the header or by what arrives.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise PayloadTooLargeError(f"the body is over {MAX_BODY_BYTES} bytes")
    return bytes(body)


async def parse_classify(request: Request) -> tuple[bytes, Parameters]:
    """Image and parameters of a request.

    JSON carries `ClassifyBody`. Multipart carries the image as the file ``image`` and, optionally, the JSON of
    `Parameters` as the field ``parameters``. A raw ``image/*`` body carries that JSON in the query ``parameters``.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError: the body is too large.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > MAX_BODY_BYTES:
        raise PayloadTooLargeError(f"the body has {declared} bytes; the limit is {MAX_BODY_BYTES}")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "application/json":
        try:
            body = ClassifyBody.model_validate_json(await read_body(request))
        except ValidationError as error:
            raise InvalidRequestError(describe_validation(error.errors(include_url=False))) from None
        return _decode_base64(body.inputs), body.parameters
    if media_type == "multipart/form-data":
        return await _parse_multipart(request)
    if media_type.startswith("image/") or media_type == "application/octet-stream":
        parameters = _parse_parameters(request.query_params.get("parameters"))
        return await read_body(request), parameters
    raise InvalidRequestError(
        f"content type {media_type[:80]!r}: expected application/json, multipart/form-data or image/*"
    )


async def _parse_multipart(request: Request) -> tuple[bytes, Parameters]:
    try:
        async with request.form(max_files=1, max_fields=2, max_part_size=MAX_BODY_BYTES) as form:
            image, parameters = form.get("image"), form.get("parameters")
            if not isinstance(image, UploadFile):
                raise InvalidRequestError("the form needs the image as a file in the field 'image'")
            if isinstance(parameters, UploadFile):
                raise InvalidRequestError("the field 'parameters' must be JSON text, not a file")
            return await image.read(MAX_BYTES + 1), _parse_parameters(parameters)
    except HTTPException as error:
        raise InvalidRequestError(f"the form cannot be read: {error.detail}") from None


def _parse_parameters(text: str | None) -> Parameters:
    if text is None:
        return Parameters()
    try:
        return Parameters.model_validate(json.loads(text))
    except ValidationError as error:
        raise InvalidRequestError(describe_validation(error.errors(include_url=False))) from None
    except ValueError as error:
        raise InvalidRequestError(f"parameters is not JSON: {error}") from None


def _decode_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidImageError(f"inputs is not base64: {error}") from None
