"""A graph whose weights lie in the files of its bundle, and are stored nowhere else."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

# Values of a tensor from which on it is worth a node.
LEAST = 64


class WeightFiles:
    """Files of safetensors, in which a tensor is found by its content: an exporter gives names of its own."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._data: dict[str, tuple[bytes, int]] = {}
        self._whole: dict[bytes, tuple[str, int]] = {}
        for path in paths:
            content = path.read_bytes()
            start = 8 + int.from_bytes(content[:8], "little")
            self._data[path.name] = content, start
            header = json.loads(content[8:start])
            header.pop("__metadata__", None)
            for tensor in header.values():
                first, end = (start + offset for offset in tensor["data_offsets"])
                self._whole[hashlib.sha256(content[first:end]).digest()] = path.name, first

    def find(self, value: NDArray[np.float16]) -> tuple[str, int] | None:
        """The name of the file and the offset where the values lie in order; None where they do not."""
        wanted = value.tobytes()
        if whole := self._whole.get(hashlib.sha256(wanted).digest()):
            return whole
        # A part of one, such as the queries of what one layer makes of tokens at once.
        for name, (content, start) in self._data.items():
            found = content.find(wanted, start)
            if found >= 0 and (found - start) % value.itemsize == 0:
                return name, found
        return None


def refer_to_files(graph: onnx.GraphProto, files: WeightFiles) -> None:
    """Have a graph read its weights from files, in half precision as they are there, and cast them.

    What is stored transposed is transposed, and what is not there stays in the graph, in half precision where that is
    exact.
    """
    nodes: list[onnx.NodeProto] = []
    for tensor in graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < LEAST:
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not (half.astype(np.float32) == value).all():
            continue
        name, stored = tensor.name, f"{tensor.name}_half"
        if place := files.find(half):
            _lie_in(tensor, stored, half.shape, place)
        elif half.ndim == 2 and (place := files.find(half.T)):
            _lie_in(tensor, stored, half.T.shape, place)
            nodes.append(helper.make_node("Cast", [stored], [f"{name}_stored"], to=TensorProto.FLOAT))
            nodes.append(helper.make_node("Transpose", [f"{name}_stored"], [name], perm=[1, 0]))
            continue
        else:
            tensor.CopyFrom(numpy_helper.from_array(half, stored))
        nodes.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    nodes.extend(graph.node)
    graph.ClearField("node")
    graph.node.extend(nodes)


def _lie_in(tensor: onnx.TensorProto, name: str, shape: tuple[int, ...], place: tuple[str, int]) -> None:
    length = 2 * int(np.prod(shape, dtype=np.int64))
    tensor.CopyFrom(
        TensorProto(name=name, data_type=TensorProto.FLOAT16, dims=shape, data_location=TensorProto.EXTERNAL)
    )
    for key, entry in (("location", place[0]), ("offset", place[1]), ("length", length)):
        tensor.external_data.add(key=key, value=str(entry))
