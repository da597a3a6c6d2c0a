"""Records: frozen dataclasses whose values pydantic checks, whether a file, a caller or numpy gives them.

A value of another type than the one that is named is refused and never converted, but for numpy's scalars: "10" is no
number, and true is not 1.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from thinwire.errors import InvalidRequestError, ThinwireError

T = TypeVar("T")
# Pydantic's words, in those of the other messages.
_WORDS = {
    "Input should be": "must be",
    "String should have at least 1 character": "must be a text that is not empty",
    "Tuple should have": "must have",
    " after validation, not 0": "",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "a valid integer": "a whole number",
    "a valid number": "a number",
    "a valid string": "a text",
    "a valid array": "a list",
    "a valid tuple": "a tuple",
    "an instance of": "a",
}
# Nobody reads a thousand lines about one file, or about one value.
MAX_ERRORS = 5
MAX_CHARACTERS = 80


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "dtype") and not getattr(value, "shape", ()) else value


def _number(value: Any) -> int | float:
    value = _plain(value)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value  # type: ignore[no-any-return]


def _json_object(value: Any) -> dict[str, Any]:
    # A copy, which the giver can no longer change, as it comes back from a file: texts as keys, lists for tuples.
    try:
        content = json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(f"must be JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError("must be an object")
    return content


def _name(text: str) -> str:
    if not re.fullmatch(r"[\w.-]{1,100}", text) or not text.strip("."):
        raise ValueError("must be letters, digits, '.', '_' and '-'")
    return text


Real = Annotated[float, BeforeValidator(_plain), Field(allow_inf_nan=False)]
"""A finite number."""
Number = Annotated[int | float, PlainValidator(_number)]
"""A finite number that stays as it was written: a digest goes by whether it was 5 or 5.0."""
Share = Annotated[Real, Field(ge=0, le=1)]
Score = Annotated[Real, Field(le=1)]
"""A share of right answers, or 1 less the errors for each answer, of which a transcript may have more than answers."""
Positive = Annotated[Real, Field(gt=0)]
NotNegative = Annotated[Real, Field(ge=0)]
Whole = Annotated[int, BeforeValidator(_plain), Field(ge=0)]
Count = Annotated[int, BeforeValidator(_plain), Field(ge=1)]
Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, AfterValidator(_name)]
"""What can become a folder's, a study's and a bundle's name: never a path."""
JsonObject = Annotated[dict[str, Any], PlainValidator(_json_object)]
"""A JSON object of any content; a copy of what was given."""


def finite(name: str, value: float) -> float:
    """The value, if it is a finite number.

    Raises:
        InvalidRequestError: it is not.
    """
    if not math.isfinite(value):
        raise InvalidRequestError(f"{name} must be a finite number, got {value}")
    return value


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field,))
def record(name: str = "", error: type[ThinwireError] = InvalidRequestError) -> Callable[[type[T]], type[T]]:
    """A frozen dataclass whose fields are checked as it is made.

    Args:
        name: stands before the fields in messages, as "objectives" in "objectives.n must be at least 1, got 0".
        error: raised where a value is not what its annotation says.
    """

    def decorate(cls: type[T]) -> type[T]:
        made = dataclass(cls, frozen=True, config=ConfigDict(strict=True, extra="forbid"))
        check = made.__init__
        names = [one.name for one in dataclasses.fields(made)]

        def checked(self: T, *args: Any, **kwargs: Any) -> None:
            try:
                check(self, *args, **kwargs)
            except ValidationError as found:
                raise error(_describe(found, name, names)) from None

        made.__init__ = checked  # type: ignore[method-assign, assignment]
        return made  # type: ignore[return-value]

    return decorate


def read(kind: type[T], content: object, name: str = "") -> T:
    """A record from what a JSON file holds.

    Args:
        kind: the record.
        content: what `json.loads` gave.
        name: stands before the fields in messages.

    Raises:
        InvalidRequestError: a field is missing, unknown or wrong; the message says which, what was expected and what
            it is.
        ThinwireError: what the record raises by itself.
    """
    try:
        # As JSON, whose lists are taken for tuples.
        return TypeAdapter(kind).validate_json(json.dumps(content))
    except ValidationError as found:
        raise InvalidRequestError(_describe(found, name, [])) from None


def read_file(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError, OSError: it cannot be read, or is no JSON.
    """
    try:
        # Editors of Windows begin UTF-8 with a mark, which JSON does not allow.
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _describe(found: ValidationError, name: str, names: list[str]) -> str:
    lines = []
    for one in found.errors(include_url=False, include_context=False)[:MAX_ERRORS]:
        # A place among the arguments is a field's.
        place = [
            names[part] if not at and isinstance(part, int) and names else part for at, part in enumerate(one["loc"])
        ]
        where = ".".join(map(str, [name, *place] if name else place)) or "it"
        message = one["msg"].removeprefix("Value error, ")
        if one["type"] == "missing":
            lines.append(f"{where} is missing")
        elif one["type"] == "unexpected_keyword_argument":
            lines.append(f"{where} is unknown")
        else:
            for theirs, ours in _WORDS.items():
                message = message.replace(theirs, ours)
            lines.append(f"{where} {message}, got {repr(one['input'])[:MAX_CHARACTERS]}")
    more = found.error_count() - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more else "")
