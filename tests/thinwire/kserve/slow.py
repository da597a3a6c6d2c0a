"""The protocol's binary form, written and read one element after the other, with nothing of ours or of numpy's."""

import json
import math
from typing import Any


def little_endian(number: int, size: int) -> list[int]:
    found = []
    for _ in range(size):
        found.append(number % 256)
        number //= 256
    return found


def from_little_endian(octets: bytes) -> int:
    number = 0
    for octet in reversed(octets):
        number = 256 * number + octet
    return number


def single(number: float) -> list[int]:
    """A normal number, or 0, as IEEE 754 has it in 32 bits."""
    if number == 0:
        return [0, 0, 0, 0]
    mantissa, exponent = math.frexp(abs(number))
    fraction = round((mantissa * 2 - 1) * 2**23)
    return little_endian((number < 0) * 2**31 + (exponent - 1 + 127) * 2**23 + fraction, 4)


def from_single(octets: bytes) -> float:
    bits = from_little_endian(octets)
    if bits % 2**31 == 0:
        return 0.0
    sign = -1.0 if bits >= 2**31 else 1.0
    exponent, fraction = bits // 2**23 % 256, bits % 2**23
    return sign * (1 + fraction / 2**23) * 2.0 ** (exponent - 127)


def shape_of(nested: Any) -> list[int]:
    return [len(nested), *shape_of(nested[0])] if isinstance(nested, list) else []


def flat(nested: Any) -> list[Any]:
    return [element for row in nested for element in flat(row)] if isinstance(nested, list) else [nested]


def raw(datatype: str, nested: Any) -> bytes:
    """The elements of a tensor behind the JSON."""
    octets: list[int] = []
    for element in flat(nested):
        if datatype == "BYTES":
            octets += [*little_endian(len(element), 4), *element]
        elif datatype == "FP32":
            octets += single(element)
        else:
            octets.append(element)
    return bytes(octets)


def encode(inputs: dict[str, tuple[str, Any]], **fields: Any) -> tuple[bytes, dict[str, str]]:
    """A body with all inputs behind its JSON, and its headers.

    Args:
        inputs: datatype and nested lists of each tensor.
        fields: others of the request.
    """
    described, tail = [], b""
    for name, (datatype, nested) in inputs.items():
        contents = raw(datatype, nested)
        size = {"binary_data_size": len(contents)}
        described.append({"name": name, "datatype": datatype, "shape": shape_of(nested), "parameters": size})
        tail += contents
    head = json.dumps({"inputs": described, **fields}).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head))}


def elements(datatype: str, octets: bytes) -> list[Any]:
    """The elements of a raw tensor."""
    found: list[Any] = []
    while octets:
        if datatype == "BYTES":
            size = from_little_endian(octets[:4])
            element, octets = octets[4 : 4 + size].decode(), octets[4 + size :]
            assert len(element.encode()) == size
        elif datatype == "FP32":
            element, octets = from_single(octets[:4]), octets[4:]
        else:
            assert datatype == "INT64"
            element, octets = from_little_endian(octets[:8]), octets[8:]
        found.append(element)
    return found


def decode(body: bytes, header: str | None) -> dict[str, tuple[list[int], list[Any]]]:
    """Shape and elements of each output of a response."""
    at = len(body) if header is None else int(header)
    found = {}
    content = json.loads(body[:at])
    for output in content["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is None:
            found[output["name"]] = output["shape"], flat(output["data"])
            continue
        found[output["name"]] = output["shape"], elements(output["datatype"], body[at : at + size])
        at += size
    assert at == len(body)
    return found
