"""What values must be of which a library reads more than we do: its arguments, and the files of checkpoints."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from thinwire.errors import InvalidRequestError


class Rule(NamedTuple):
    """What a value must be, in words, and whether one is; ``optional`` where the field may be left out."""

    expected: str
    holds: Callable[[Any], bool]
    optional: bool = False


class Fields(NamedTuple):
    """An object's fields by name."""

    rules: Mapping[str, "Rule | Fields"]
    optional: bool = False


def whole(least: int) -> Rule:
    """A whole number."""
    return Rule(f"a whole number of at least {least}", lambda value: _is_whole(value) and value >= least)


def real(low: float, high: float = math.inf, above: bool = False) -> Rule:
    """A finite number of a range; ``above`` leaves its lower end out."""
    words = f"a number {'above' if above else 'of at least'} {low:g}" + (
        f", at most {high:g}" if high < math.inf else ""
    )
    return Rule(words, lambda value: _is_real(value) and low <= value <= high and not (above and value == low))


def one_of(*values: object) -> Rule:
    """One of some texts or truth values."""
    return Rule(
        f"one of {', '.join(map(repr, values))}",
        lambda value: any(type(value) is type(one) and value == one for one in values),
    )


def list_of(rule: Rule, length: int | None = None) -> Rule:
    """A list with something in it."""
    return Rule(
        f"a list of {length or 'one or more'}, each {rule.expected}",
        lambda value: (
            isinstance(value, list) and len(value) == (length or max(1, len(value))) and all(map(rule.holds, value))
        ),
    )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


TEXT = Rule("a text", lambda value: isinstance(value, str) and bool(value))
OBJECT = Rule("an object", lambda value: isinstance(value, dict))
NUMBER = Rule("a number", _is_real)
SHARE = real(0, 1)
BELOW_ONE = Rule("a number from 0 to below 1", lambda value: _is_real(value) and 0 <= value < 1)


def check_fields(content: object, fields: Fields, path: str = "") -> None:
    """Check an object's fields, those of what it holds included.

    Raises:
        InvalidRequestError: one is missing, unknown or no such value; names it, what it should be and what it is.
    """
    if not isinstance(content, dict):
        raise InvalidRequestError(f"{path or 'it'}: expected an object, got {_short(content)}")
    where = f"{path}." if path else ""
    if unknown := [key for key in content if key not in fields.rules]:
        raise InvalidRequestError(f"{where}{unknown[0]}: expected one of {', '.join(fields.rules)}, got another field")
    for name, rule in fields.rules.items():
        if name not in content:
            if not rule.optional:
                words = rule.expected if isinstance(rule, Rule) else "an object"
                raise InvalidRequestError(f"{where}{name}: expected {words}, got none")
        elif isinstance(rule, Fields):
            check_fields(content[name], rule, f"{where}{name}")
        elif not rule.holds(content[name]):
            raise InvalidRequestError(f"{where}{name}: expected {rule.expected}, got {_short(content[name])}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
