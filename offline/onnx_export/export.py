"""``torch.onnx.export`` as all of ours call it."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxscript import opset20 as op
from torch import nn

# What torch writes; nothing that is used changed between this and `OPSET`.
EXPORTED_OPSET = 20
# The first with RMSNormalization.
OPSET = 23


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    # torch's own translation transposes the keys by way of shapes, which ONNX Runtime cannot see through where the
    # number of tokens is not known. Its attention operators are no faster than these.
    if dropout_p or is_causal or enable_gqa:
        raise ValueError("expected plain attention, without dropout, causal mask or grouped queries")
    factor = float(query.shape[-1]) ** -0.5 if scale is None else scale
    scores = op.MatMul(op.Mul(query, op.Constant(value_float=factor)), op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        scores = op.Add(scores, attn_mask)
    return op.MatMul(op.Softmax(scores, axis=-1), value)


def export(module: nn.Module, arguments: Mapping[str, Any], dynamic: dict[str, Any] | None = None) -> onnx.ModelProto:
    """A module in evaluation mode; where it is of one image, its linear layers are one node each.

    Args:
        module: what to export.
        arguments: example inputs by name.
        dynamic: as ``dynamic_shapes`` of ``torch.onnx.export``.
    """
    with warnings.catch_warnings(), torch.inference_mode(), _quiet("onnxscript", "onnx_ir"):
        # The exporter's own, about torch's and Python's internals.
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module.eval(),
            (),
            kwargs=dict(arguments),
            dynamic_shapes=dynamic,
            dynamo=True,
            opset_version=EXPORTED_OPSET,
            custom_translation_table={torch.ops.aten.scaled_dot_product_attention.default: _attention},
            external_data=False,
            verbose=False,
        )
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    join_linear(model.graph)
    return model


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without the lines of libraries on each node that they change or leave as it is; their warnings stay."""
    before = {logging.getLogger(name): logging.getLogger(name).level for name in names}
    for logger in before:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


def join_linear(graph: onnx.GraphProto) -> None:
    """Make one Gemm of a product with a matrix and the bias that is added: ONNX Runtime does so only where it knows how
    many tokens there are."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    # Of one image alone: its first dimension can be left out and put back.
    single = {
        value.name
        for value in graph.value_info
        if len(value.type.tensor_type.shape.dim) == 3 and value.type.tensor_type.shape.dim[0].dim_value == 1
    }
    axis = numpy_helper.from_array(np.array([0], dtype=np.int64), "join_linear_axis")
    replaced: dict[str, list[onnx.NodeProto]] = {}
    gone = set()
    for node in graph.node:
        if node.op_type != "MatMul" or len(shapes.get(node.input[1], ())) != 2 or node.input[0] not in single:
            continue
        following = users.get(node.output[0], [])
        if len(following) != 1 or following[0].op_type != "Add":
            continue
        add = following[0]
        bias = next(name for name in add.input if name != node.output[0])
        if shapes.get(bias) != shapes[node.input[1]][1:]:
            continue
        flat, product = f"{node.output[0]}_flat", f"{node.output[0]}_joined"
        replaced[add.output[0]] = [
            helper.make_node("Squeeze", [node.input[0], axis.name], [flat]),
            helper.make_node("Gemm", [flat, node.input[1], bias], [product]),
            helper.make_node("Unsqueeze", [product, axis.name], list(add.output)),
        ]
        gone.add(node.output[0])
    nodes = []
    for node in graph.node:
        if node.output[0] not in gone:
            nodes.extend(replaced.get(node.output[0], [node]))
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.append(axis)


def compacted(
    tensors: Sequence[onnx.TensorProto], least: int = 1024
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Weights in float16 wherever that is exact, as a bundle's are; a session casts them back once, when it loads.

    Args:
        least: smaller ones are not worth a node.
    """
    casts, stored = [], []
    for tensor in tensors:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32 and value.size >= least:
            with np.errstate(over="ignore"):
                half = value.astype(np.float16)
            if (half.astype(np.float32) == value).all():
                name = f"{tensor.name}_half"
                casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
                stored.append(numpy_helper.from_array(half, name))
                continue
        stored.append(tensor)
    return casts, stored
