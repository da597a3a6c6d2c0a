"""A name with parameters as one text, such as ``rician:k_db=6,coherence=16``."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from thinwire.errors import InvalidRequestError

T = TypeVar("T")
MAX_LENGTH = 128


def parse(what: str, text: str) -> tuple[str, dict[str, str]]:
    """Take a text ``name`` or ``name:key=value,key=value`` apart.

    Args:
        what: what the text names, for messages.

    Returns:
        the name, and the parameters as they were written.

    Raises:
        InvalidRequestError: it is too long, a parameter is not of that form, or is given twice.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidRequestError(f"{what} must have at most {MAX_LENGTH} characters, got {len(text)}")
    name, colon, rest = text.partition(":")
    given: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, _, value = part.partition("=")
        if not key or not value or key in given:
            raise InvalidRequestError(f"{what} must be like name:key=value,key=value, got {text!r}")
        given[key] = value
    return name, given


def build(what: str, kind: type[T], given: Mapping[str, str]) -> T:
    """Make a dataclass of numbers, each of which has a default whose type is the parameter's.

    Args:
        what: what is built, for messages.
        kind: the class; one that is no dataclass takes no parameters.
        given: values by name.

    Raises:
        InvalidRequestError: there is no such parameter, a value is not of its type, or the class refuses it.
    """
    defaults = _defaults(kind)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in defaults:
            known = f"the parameters {', '.join(defaults)}" if defaults else "no parameters"
            raise InvalidRequestError(f"{what} takes {known}, got {key!r}")
        numbers = type(defaults[key])
        try:
            values[key] = numbers(value)
        except ValueError:
            wanted = "a whole number" if numbers is int else "a number"
            raise InvalidRequestError(f"{what}: {key} must be {wanted}, got {value!r}") from None
    return kind(**values)


def spell(name: str, built: object) -> str:
    """The text from which `parse` and `build` make the same again, without the parameters that have their defaults."""
    defaults = _defaults(type(built))
    values = {key: getattr(built, key) for key in defaults}
    # A float's shortest text that reads back as the same float.
    changed = [f"{key}={str(value).removesuffix('.0')}" for key, value in values.items() if value != defaults[key]]
    return f"{name}:{','.join(changed)}" if changed else name


def within(name: str, value: float, low: float, high: float) -> None:
    """Check that a parameter is from ``low`` to ``high``.

    Raises:
        InvalidRequestError: it is not, or is no number.
    """
    # Written so that NaN fails too.
    if not low <= value <= high:
        raise InvalidRequestError(f"{name} must be from {low:g} to {high:g}, got {value}")


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {field.name: field.default for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
