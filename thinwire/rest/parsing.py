"""Requests from their forms: JSON, multipart/form-data, or a raw image."""

from collections.abc import Callable, Collection
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from thinwire.errors import InvalidRequestError
from thinwire.rest.bodies import decode_text, media_type, pieces, read_body
from thinwire.rest.data_urls import is_image, read_data_url, read_image
from thinwire.rest.forms import Part, read_form
from thinwire.rest.problems import describe_validation, name_of
from thinwire.rest.schemas import ClassifyBody, Parameters, QuestionInputs, VqaBody, VqaParameters

B = TypeVar("B", bound=BaseModel)


async def parse_classify(request: Request) -> tuple[bytes, Parameters]:
    """Image and parameters of a request.

    JSON carries `ClassifyBody`. Multipart carries the image as the part ``image`` and, optionally, the JSON of
    `Parameters` as the part ``parameters``. A raw ``image/*`` body carries that JSON in the query ``parameters``. Any
    other part or query is refused.

    Raises:
        InvalidRequestError: the body or a parameter is not what was expected.
        InvalidImageError: the base64 is not valid.
        PayloadTooLargeError, UnsupportedEncodingError: as for `thinwire.rest.bodies.pieces`.
    """
    kind = media_type(request)
    is_raw = is_image(kind)
    _check_query(request, {"parameters"} if is_raw else set())
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
        PayloadTooLargeError, UnsupportedEncodingError: as for `thinwire.rest.bodies.pieces`.
    """
    kind = media_type(request)
    _check_query(request, set())
    if _is_json(kind):
        body = await _parse_body(request, VqaBody)
        return read_image(body.inputs.image, "inputs.image"), body.inputs.question, body.parameters
    if kind == "multipart/form-data":
        image, parts = await _parse_form(request, {"question", "parameters"})
        parameters = _parse_part(VqaParameters, parts.get("parameters"))
        asked = {"question": parts["question"].text()} if "question" in parts else {}
        return image, _validated(lambda: QuestionInputs.model_validate(asked)).question, parameters
    hint = "; a raw image has no question" if is_image(kind) else ""
    raise InvalidRequestError(f"content type {kind[:80]!r}: expected application/json or multipart/form-data{hint}")


async def parse_only_json(request: Request, kind: type[B]) -> B:
    """The body of a request that has no other form than JSON.

    Raises:
        InvalidRequestError: the body is not what was expected.
        PayloadTooLargeError, UnsupportedEncodingError: as for `thinwire.rest.bodies.pieces`.
    """
    _check_query(request, set())
    if not _is_json(media_type(request)):
        raise InvalidRequestError(f"content type {media_type(request)[:80]!r}: expected application/json")
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
    parts = await read_form(request.headers["content-type"], pieces(request), {"image", *names})
    if "image" not in parts:
        raise InvalidRequestError("the form needs the image in the part 'image'")
    image = parts["image"].content
    # What a canvas gives a page; no format of images starts like it.
    if image[:5].lower() == b"data:":
        image = read_data_url(image.decode("latin-1"), "image")
    return image, parts


def _check_query(request: Request, allowed: set[str]) -> None:
    # What is not read must not be ignored: the caller would believe that it took effect.
    for name, _ in request.query_params.multi_items():
        if name not in allowed:
            expected = " and ".join(sorted(allowed)) or "nothing"
            raise InvalidRequestError(f"the query may hold {expected}, got {name[:80]!r}")
        if len(request.query_params.getlist(name)) > 1:
            raise InvalidRequestError(f"the query holds {name!r} more than once")


def _parse_part(kind: type[B], part: Part | None) -> B:
    return _parse_parameters(kind, None if part is None else part.text())


def _parse_parameters(kind: type[B], text: str | None) -> B:
    # A form that is filled in by hand sends its empty fields, too.
    is_left_out = text is None or not text.strip()
    return _validated(lambda: kind() if is_left_out else kind.model_validate_json(text or ""), "parameters: ")
