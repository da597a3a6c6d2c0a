"""Parts of a model from torch to ONNX, all in one export, to be joined by hand.

A whole model whose token count depends on the image at every layer does not come out of ``torch.onnx.export``: its
symbolic shapes grow without bound. Layers that do not know of one another do, each with a token count of its own.
"""

from collections.abc import Callable, Mapping
from typing import Any

import onnx
from onnx import helper
from torch import nn

from offline.export.export import OPSET, export
from offline.export.graph import Graph


class Pieces:
    """What torch exported, to be appended to a graph piece by piece.

    Args:
        module: gives a flat list of tensors.
        arguments: example inputs by name, each a tensor or a list of them.
        dynamic: for each input, or for each of a list alike, the dimensions that vary, as torch's exporter has them.
    """

    def __init__(self, module: nn.Module, arguments: Mapping[str, Any], dynamic: Mapping[str, dict[int, Any]]) -> None:
        shapes = {}
        for name, value in arguments.items():
            shape = dynamic.get(name) or None
            shapes[name] = [shape] * len(value) if isinstance(value, list) else shape
        model = export(module, arguments, shapes)
        self._initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in model.graph.node for name in node.output if name}
        self._order = {id(node): index for index, node in enumerate(model.graph.node)}
        self._emitted: set[int] = set()
        self.initializers: list[onnx.TensorProto] = []
        self.inputs = [value.name for value in model.graph.input]
        self.outputs = [value.name for value in model.graph.output]

    def append(self, graph: Graph, output: str) -> str:
        """Append what an output needs and what is not there yet; its inputs must be."""
        found: dict[int, onnx.NodeProto] = {}
        wanted = [output]
        while wanted:
            name = wanted.pop()
            if name in self._initializers:
                self.initializers.append(self._initializers.pop(name))
            node = self._makers.get(name)
            if node is not None and id(node) not in self._emitted:
                self._emitted.add(id(node))
                found[self._order[id(node)]] = node
                wanted.extend(value for value in node.input if value)
        graph.nodes.extend(found[index] for index in sorted(found))
        return output

    def append_apart(self, graph: Graph, output: str) -> Callable[[Graph], str]:
        """Append what an output needs, but not the sum that it is, if it is one: whoever calls adds up, in any graph
        that sees this one."""
        self.append(graph, output)
        last = graph.nodes[-2:]
        if [node.op_type for node in last] != ["Add", "Squeeze"] or last[1].output[0] != output:
            return lambda inner: inner.op("Identity", output)
        del graph.nodes[-2:]
        return lambda inner: inner.op("Squeeze", inner.op("Add", *last[0].input), inner.integers(0))


def make_model(
    graph: Graph,
    pieces: Pieces,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """The whole as a model."""
    whole = helper.make_graph(graph.nodes, "thinwire", inputs, outputs, [*pieces.initializers, *graph.constants])
    model = helper.make_model(
        whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10, producer_name="thinwire"
    )
    helper.set_model_props(model, dict(metadata))
    return model
