"""Checks on values that come from a user, a file or an evaluator."""

import json
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from thinwire.errors import InvalidRequestError


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """A finite number within ``[low, high]``, numpy's scalars included.

    Raises:
        InvalidRequestError: it is no number, not finite, or out of range.
    """
    # A bool is an Integral to Python, and true for 1 is more often a mistake than a number.
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidRequestError(f"{name} must be a number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidRequestError(f"{name} must be a finite number, got {number}")
    if not low <= number <= high:
        wanted = f"at least {low:g}" if math.isinf(high) else f"within {low:g} and {high:g}"
        raise InvalidRequestError(f"{name} must be {wanted}, got {value!r}")
    return number


def positive(name: str, value: object) -> float:
    """A finite number above zero.

    Raises:
        InvalidRequestError: it is not.
    """
    number = real(name, value)
    if number <= 0:
        raise InvalidRequestError(f"{name} must be above 0, got {value!r}")
    return number


def whole(name: str, value: object, low: int) -> int:
    """A whole number of at least ``low``, numpy's scalars included.

    Raises:
        InvalidRequestError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < low:
        raise InvalidRequestError(f"{name} must be a whole number of at least {low}, got {value!r}")
    return int(value)


def text(name: str, value: object) -> str:
    """A text that is not empty.

    Raises:
        InvalidRequestError: it is not.
    """
    if not isinstance(value, str) or not value:
        raise InvalidRequestError(f"{name} must be a text, got {value!r}")
    return value


def members(what: str, content: object, names: Iterable[str]) -> dict[str, Any]:
    """A JSON object's members, which must be exactly those named.

    Raises:
        InvalidRequestError: it is no object, or members are missing or unknown.
    """
    if not isinstance(content, dict):
        raise InvalidRequestError(f"{what} must be an object, got {type(content).__name__}")
    expected = set(names)
    if content.keys() != expected:
        raise InvalidRequestError(
            f"{what}: missing {sorted(expected - content.keys())}, unknown {sorted(content.keys() - expected)}"
        )
    return content


def json_object(name: str, value: object) -> dict[str, Any]:
    """A copy of a JSON object as it comes back from JSON: with texts as keys and lists for tuples.

    Raises:
        InvalidRequestError: it is none, or holds what JSON does not.
    """
    try:
        content = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"{name} must be JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidRequestError(f"{name} must be an object, got {value!r}")
    return content
