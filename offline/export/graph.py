"""A small writer of ONNX graphs: nodes in order, fresh names, constants once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


class Graph:
    """Nodes that are appended in the order in which they run; a value is its name.

    Args:
        outer: of the branch of an `If` or the body of a `Loop`, the graph around it, whose values it sees.
    """

    def __init__(self, outer: "Graph | None" = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._names: list[int] = outer._names if outer else [0]
        # Of its own: what an inner graph sees of the outer is handed over whenever it runs.
        self._constants: dict[tuple[str, tuple[int, ...], bytes], onnx.TensorProto] = {}

    @property
    def constants(self) -> list[onnx.TensorProto]:
        """The initializers."""
        return list(self._constants.values())

    def name(self) -> str:
        """A name that nothing has."""
        self._names[0] += 1
        return f"thinwire_{self._names[0]}"

    def constant(self, value: Array) -> str:
        """A constant."""
        key = (str(value.dtype), value.shape, value.tobytes())
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(value, self.name())
        return self._constants[key].name

    def integers(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(np.array(values, dtype=np.int64))

    def integer(self, value: int) -> str:
        """A constant int64 scalar."""
        return self.constant(np.array(value, dtype=np.int64))

    def op(self, kind: str, *inputs: str, outputs: Sequence[str] = (), **attributes: Any) -> str:
        """Append a node.

        Args:
            inputs: "" leaves one out.
            outputs: names to give; by default one fresh.

        Returns:
            the first output.
        """
        names = list(outputs) or [self.name()]
        self.nodes.append(helper.make_node(kind, list(inputs), names, names[0], **attributes))
        return names[0]

    def split(self, value: str, count: int) -> list[str]:
        """The elements of a vector, each a vector of one; none of an empty one."""
        outputs = [self.name() for _ in range(count)]
        if count:
            self.op("Split", value, outputs=outputs, axis=0, num_outputs=count)
        return outputs

    def branch(
        self,
        condition: str,
        build: Callable[["Graph"], Sequence[str]],
        other: Callable[["Graph"], Sequence[str]],
    ) -> list[str]:
        """What ``build`` appends, run only if a condition holds.

        Args:
            condition: a bool of one element.
            build: appends nodes and gives the values.
            other: likewise otherwise.
        """
        then, otherwise = Graph(self), Graph(self)
        made, passed = list(build(then)), list(other(otherwise))
        outputs = [self.name() for _ in made]
        self.op(
            "If", condition, outputs=outputs, then_branch=then.inner([], made), else_branch=otherwise.inner([], passed)
        )
        return outputs

    def inner(self, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[str]) -> onnx.GraphProto:
        """This graph as a branch or a body."""
        # Without types: they follow from the nodes.
        values = [onnx.ValueInfoProto(name=name) for name in outputs]
        return helper.make_graph(self.nodes, self.name(), list(inputs), values, self.constants)

    def rows(self, value: str, first: int, step: int = 1) -> str:
        """Rows from ``first`` on, every ``step``-th."""
        if first == 0 and step == 1:
            return value
        steps = (self.integers(step),) if step > 1 else ()
        return self.op("Slice", value, self.integers(first), self.integers(2**62), self.integers(0), *steps)

    def shaped(self, value: str, *shape: int) -> str:
        """The same values in another shape."""
        return self.op("Reshape", value, self.integers(*shape))
