"""The protocol's flat parameters, as those of our own requests, whose limits they have."""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from pydantic import ValidationError

from thinwire.errors import InvalidRequestError
from thinwire.rest.problems import describe_validation
from thinwire.rest.schemas import Parameters, VqaParameters

Scalar: TypeAlias = bool | int | float | str
P = TypeVar("P", Parameters, VqaParameters)
# The ten minutes of our own `timeout_ms`.
MAX_TIMEOUT_US = 600_000_000
# Where each stands in our own.
_PLACES: dict[str, tuple[str, ...]] = {
    "policy": ("policy",),
    "channel_uses": ("budget", "channel_uses"),
    "top_k": ("top_k",),
    "snr_db": ("channel", "snr_db"),
    "channel_model": ("channel", "model"),
    "seed": ("channel", "seed"),
    # The protocol's own name, in microseconds.
    "timeout": ("timeout_ms",),
}


def read_parameters(kind: type[P], model: str, given: Mapping[str, Scalar]) -> P:
    """The parameters of a request.

    Args:
        kind: of the model's task.
        model: the name of the bundle.
        given: those of the request, less what says how the answer is encoded.

    Raises:
        InvalidRequestError: one is unknown, of another type, or out of range.
    """
    known = [name for name, place in _PLACES.items() if place[0] in kind.model_fields]
    fields: dict[str, Any] = {"model": model, "budget": {}, "channel": {}}
    for name, value in given.items():
        if name not in known:
            raise InvalidRequestError(f"parameter {name[:80]!r}: not known here; there is {', '.join(known)}", name)
        if name == "timeout":
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TIMEOUT_US:
                expected = f"expected whole microseconds, up to {MAX_TIMEOUT_US}"
                raise InvalidRequestError(f"parameter 'timeout': {expected}, got {str(value)[:80]!r}", name)
            # To the protocol 0 is none of its own.
            if not value:
                continue
            value = value / 1e3
        *parents, last = _PLACES[name]
        (fields[parents[0]] if parents else fields)[last] = value
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        mistakes = error.errors(include_url=False)
        names = {place: name for name, place in _PLACES.items()}
        for mistake in mistakes:
            mistake["loc"] = (names.get(tuple(map(str, mistake["loc"])), ".".join(map(str, mistake["loc"]))),)
        raise InvalidRequestError(
            f"parameter {describe_validation(list(mistakes))}", str(mistakes[0]["loc"][0])
        ) from None
