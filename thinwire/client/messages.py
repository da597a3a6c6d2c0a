"""What the client sends and what it makes of what comes back, apart from any connection."""

import json
import operator
import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

import httpx
from pydantic import BaseModel, ValidationError

from thinwire.errors import InvalidImageError, InvalidRequestError, UnavailableError, from_code

if TYPE_CHECKING:
    import numpy as np
    import PIL.Image
    from numpy.typing import NDArray

Image: TypeAlias = "bytes | str | os.PathLike[str] | PIL.Image.Image | NDArray[np.uint8]"
Budget: TypeAlias = int | Mapping[str, Any]
R = TypeVar("R", bound=BaseModel)


def read_image(image: Image) -> bytes:
    """The encoded image that is sent: a file's bytes as they are; pixels as PNG, which loses nothing.

    Args:
        image: the bytes of a file, its path, an image of Pillow, or ``H x W x 3`` uint8 pixels in RGB.

    Raises:
        InvalidRequestError: the file cannot be read.
        InvalidImageError: the pixels are not of that kind.
    """
    if isinstance(image, bytes):
        return image
    if isinstance(image, str | os.PathLike):
        try:
            return Path(image).read_bytes()
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"cannot read {image}: {getattr(error, 'strerror', error)}") from None
    from io import BytesIO

    import numpy as np

    from thinwire.images import to_png

    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InvalidImageError(f"expected H x W x 3 uint8 pixels, got {image.shape} of {image.dtype}")
        return to_png(image)
    if not hasattr(image, "save"):
        raise InvalidImageError(f"expected bytes, a path, a Pillow image or a numpy array, got {type(image).__name__}")
    encoded = BytesIO()
    try:
        image.save(encoded, "PNG")
    except (OSError, ValueError) as error:
        raise InvalidImageError(f"the image cannot be encoded as PNG: {error}") from None
    return encoded.getvalue()


def parameters(budget: Budget | None, **others: Any) -> dict[str, Any]:
    """The ``parameters`` of a request, without what was left out; a whole number as budget is channel uses."""
    asked = {name: value for name, value in others.items() if value is not None}
    if budget is not None:
        asked["budget"] = dict(budget) if isinstance(budget, Mapping) else {"channel_uses": operator.index(budget)}
    return asked


def image_body(image: Image, asked: dict[str, Any]) -> dict[str, Any]:
    """An image as the body, and its parameters in the query; arguments of a request of httpx."""
    return {
        "content": read_image(image),
        "headers": {"content-type": "application/octet-stream"},
        "params": {"parameters": json.dumps(asked)} if asked else {},
    }


def question_form(image: Image, question: str, asked: dict[str, Any]) -> dict[str, Any]:
    """An image, a question about it and its parameters as a form, since a raw image has no room for a question."""
    parts = {
        "image": ("image", read_image(image), "application/octet-stream"),
        "question": (None, question.encode(), "text/plain; charset=utf-8"),
        "parameters": (None, json.dumps(asked), "application/json"),
    }
    return {"files": parts, "headers": {}}


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine; a proxy of the environment would look for it on its own."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def no_answer(url: object, reason: str) -> UnavailableError:
    """Nothing answers at an address, or nothing of ours."""
    return UnavailableError(f"no answer from {url}: {reason}")


def read_answer(response: httpx.Response, kind: type[R] | None = None) -> Any:
    """What a response holds.

    Args:
        response: of an edge or a cloud, whole.
        kind: what is expected; None takes any JSON object as it is.

    Raises:
        ThinwireError: the problem that it tells, with its code, title, status and detail.
        UnavailableError: it is no answer of an edge or a cloud.
    """
    try:
        content = response.json()
    # What is no JSON, or no text at all.
    except ValueError:
        content = None
    code = content.get("error") if isinstance(content, dict) else None
    # A problem of ours has a code; of a path that is not served, one that tells no more than the status.
    if response.is_error and isinstance(content, dict) and isinstance(code, str) and code != "http_error":
        # JSON may hold half of a surrogate pair, which no terminal prints.
        detail = str(content.get("detail", response.text)).encode("utf-8", "replace").decode()
        retry_after_s = _seconds(response.headers.get("retry-after"))
        raise from_code(code, detail, str(content.get("title", "")), response.status_code, retry_after_s)
    if not response.is_error and isinstance(content, dict):
        try:
            return content if kind is None else kind.model_validate(content)
        except ValidationError:
            pass
    media_type = response.headers.get("content-type", "no content type")[:80]
    raise no_answer(
        response.url.copy_with(query=None),
        f"it is no address of an edge or a cloud: HTTP {response.status_code} {response.reason_phrase}, {media_type}",
    )


def _seconds(text: str | None) -> float | None:
    # Or a date, which no server of ours sends.
    return float(text) if text is not None and text.isdecimal() else None
