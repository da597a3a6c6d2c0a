"""The protocol's bodies over HTTP: JSON, and behind it the tensors that come or go as they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from thinwire.errors import InvalidRequestError, PayloadTooLargeError
from thinwire.kserve.answering import Request, Response, Wanted
from thinwire.kserve.parameters import Scalar
from thinwire.kserve.tensors import MAX_AXES, Given, check_values
from thinwire.rest.parsing import MAX_BODY_BYTES, parse_json
from thinwire.rest.schemas import Integer, Strict

# As of a message over gRPC.
MAX_BYTES = 64 * 2**20
# As of our other bodies: an image of the largest size fits in base64.
MAX_JSON_BYTES = MAX_BODY_BYTES
LENGTH_HEADER = "inference-header-content-length"
MAX_ID = 256
_Name = Annotated[str, Field(max_length=128)]
_Size = Annotated[Integer, Field(ge=0, lt=2**31)]
_Parameters = dict[str, Any]


class InputBody(Strict):
    """An input: ``data``, flat or in rows; or ``parameters.binary_data_size`` bytes behind the JSON."""

    name: _Name
    datatype: Annotated[str, Field(max_length=16)]
    shape: Annotated[list[_Size], Field(max_length=MAX_AXES)]
    parameters: _Parameters = Field(default_factory=dict)
    data: list[Any] | None = None


class OutputBody(Strict):
    """An output that is asked for: ``parameters`` may have ``binary_data`` and ``classification``."""

    name: _Name
    parameters: _Parameters = Field(default_factory=dict)


class InferBody(Strict):
    """A request; no ``outputs`` ask for all. ``parameters`` are scalars."""

    id: Annotated[str, Field(max_length=MAX_ID)] = ""
    parameters: _Parameters = Field(default_factory=dict)
    inputs: Annotated[list[InputBody], Field(max_length=16)]
    outputs: Annotated[list[OutputBody], Field(max_length=16, default_factory=list)]


@dataclass(frozen=True)
class Parsed:
    """A request, and how its answer is to be encoded.

    Attributes:
        request: what is asked.
        id: to send back; "" for none.
        binary: whether an output goes behind the JSON, by its name.
        is_binary: the same of those that are not named.
    """

    request: Request
    id: str
    binary: Mapping[str, bool]
    is_binary: bool


def parse(body: bytes, lengths: Sequence[str], model: str, version: str) -> Parsed:
    """A request from its body, inflated.

    Args:
        body: the whole of it.
        lengths: the values of `LENGTH_HEADER`.
        model: as the path names it.
        version: likewise; "" for none.

    Raises:
        InvalidRequestError: the body is not what was expected, or not as long as it says.
        PayloadTooLargeError: its JSON is over `MAX_JSON_BYTES` bytes, or has more than `MAX_VALUES` values.
    """
    at = _json_length(lengths, len(body))
    if at > MAX_JSON_BYTES:
        raise PayloadTooLargeError(f"the JSON of the body has {at} bytes; the limit is {MAX_JSON_BYTES}")
    whole = memoryview(body)
    head = body if at == len(body) else bytes(whole[:at])
    # Before it is parsed: so many lists would take seconds and gigabytes. Base64 has none of these.
    check_values(sum(map(head.count, (b",", b"[", b"{"))))
    asked = parse_json(InferBody, head)
    inputs = []
    for given in asked.inputs:
        size = _binary_size(given)
        if size is None:
            if given.data is None:
                raise InvalidRequestError(f"input {given.name!r}: expected data, or binary_data_size", given.name)
            inputs.append(Given(given.name, given.datatype, tuple(given.shape), values=given.data))
            continue
        if size > len(body) - at:
            left = f"{len(body) - at} are left behind the JSON"
            raise InvalidRequestError(f"input {given.name!r}: binary_data_size is {size}, and {left}", given.name)
        inputs.append(Given(given.name, given.datatype, tuple(given.shape), raw=whole[at : at + size]))
        at += size
    if at != len(body):
        raise InvalidRequestError(f"{len(body) - at} bytes of the body belong to no input")
    parameters = _scalars(asked.parameters, "parameter")
    is_binary = _flag(parameters.pop("binary_data_output", False), "parameter 'binary_data_output'")
    wanted, binary = [], {}
    for output in asked.outputs:
        options = _scalars(output.parameters, f"output {output.name!r}: parameter")
        binary[output.name] = _flag(options.pop("binary_data", is_binary), f"output {output.name!r}: binary_data")
        wanted.append(Wanted(output.name, classes_of(output.name, options)))
    request = Request(model, version, inputs, wanted, parameters)
    return Parsed(request, asked.id, binary, is_binary)


def compose(response: Response, parsed: Parsed) -> tuple[bytes, dict[str, str]]:
    """The body of an answer, and its headers."""
    outputs, raws = [], []
    for output in response.outputs:
        described: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if parsed.binary.get(output.name, parsed.is_binary):
            raws.append(output.raw())
            described["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            described["data"] = output.data()
        outputs.append(described)
    told = {"id": parsed.id} if parsed.id else {}
    bundle = response.bundle
    head = json.dumps({"model_name": bundle.name, "model_version": bundle.digest, **told, "outputs": outputs}).encode()
    if not raws:
        return head, {"content-type": "application/json"}
    headers = {"content-type": "application/octet-stream", LENGTH_HEADER: str(len(head))}
    return b"".join((head, *raws)), headers


def classes_of(name: str, options: Mapping[str, Scalar]) -> int:
    """How many classes an output is asked for as texts; 0 for plain numbers.

    Raises:
        InvalidRequestError: that is no number, or there are other parameters.
    """
    for option in options:
        if option != "classification":
            raise InvalidRequestError(f"output {name!r}: parameter {option[:80]!r}: not known here", name)
    classes = options.get("classification", 0)
    if isinstance(classes, bool) or not isinstance(classes, int):
        raise InvalidRequestError(f"output {name!r}: classification: expected a whole number", name)
    return classes


def _json_length(lengths: Sequence[str], size: int) -> int:
    if not lengths:
        return size
    if len(lengths) > 1 or not lengths[0].isascii() or not lengths[0].isdecimal() or len(lengths[0]) > 18:
        raise InvalidRequestError(f"{LENGTH_HEADER}: expected one number of bytes, got {', '.join(lengths)[:80]!r}")
    if int(lengths[0]) > size:
        raise InvalidRequestError(f"{LENGTH_HEADER} is {lengths[0]}, and the body has {size} bytes; is it of another?")
    return int(lengths[0])


def _binary_size(given: InputBody) -> int | None:
    options = _scalars(given.parameters, f"input {given.name!r}: parameter")
    size = options.pop("binary_data_size", None)
    for option in options:
        raise InvalidRequestError(f"input {given.name!r}: parameter {option[:80]!r}: not known here", given.name)
    if size is None:
        return None
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidRequestError(f"input {given.name!r}: binary_data_size: expected a number of bytes", given.name)
    if given.data is not None:
        raise InvalidRequestError(f"input {given.name!r}: expected data or binary_data_size, got both", given.name)
    return size


def _scalars(parameters: Mapping[str, Any], where: str) -> dict[str, Scalar]:
    for name, value in parameters.items():
        if not isinstance(value, bool | int | float | str):
            raise InvalidRequestError(f"{where} {name[:80]!r}: expected a number, a text, true or false", name)
    return dict(parameters)


def _flag(value: Scalar, where: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{where}: expected true or false, got {str(value)[:80]!r}")
    return value
